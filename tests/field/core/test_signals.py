"""Signals: each ends or reloads the server in order, whenever it comes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.bench.ports import FREE_VARIABLES
from tests.bench.programs import PROGRAM, Program, run
from tests.bench.waiting import PATIENCE, until
from tests.field.serving import serve, until_ready

STOPPED_BY_AN_IMPORT: Final = """\
import os, signal, sys

MODULE, SIGNAL = sys.argv.pop(1), int(sys.argv.pop(1))

class Stopper:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            os.kill(os.getpid(), SIGNAL)

sys.meta_path.insert(0, Stopper())
from span_events.cli.main import main
main()
"""
"""A program that gets a signal, its second argument, while it imports the module that its first argument names."""


@pytest.mark.parametrize("module", ["span_events.cli.commands", "span_events.app"])
async def test_security_R11_sigterm_while_the_modules_load_is_an_orderly_end(tmp_path: Path, module: str) -> None:
    """The handler is the first thing that the program does: nothing is written yet."""
    command = (sys.executable, "-c", STOPPED_BY_AN_IMPORT, module, str(int(signal.SIGTERM)), *serve(tmp_path)[1:])
    ended = await run(*command, environment=FREE_VARIABLES)

    assert (ended.status, ended.output, ended.complaints) == (0, "", "")
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


@pytest.mark.parametrize("redirected", [">/dev/full 2>&1", ">&- 2>&-"], ids=["a full disk", "closed"])
async def test_core_04_sighup_while_the_modules_load_and_lost_output_end_no_server(
    tmp_path: Path, redirected: str
) -> None:
    """A rotation of logs may send it at any time, and a supervisor may close or fill the standard streams."""
    load = (sys.executable, "-c", STOPPED_BY_AN_IMPORT, "span_events.app", str(int(signal.SIGHUP)))
    command = ("sh", "-c", f'exec setsid "$@" {redirected}', "sh", *load, *serve(tmp_path)[1:])
    async with Program(*command, environment=FREE_VARIABLES) as program:
        await until((tmp_path / "ready").exists)
        had_token = (tmp_path / "data" / "admin-token").exists()
        program.send_signal(signal.SIGTERM)
        ended = await program.finish()

    assert (ended.status, ended.output, ended.complaints) == (0, "", "")
    assert had_token, "it is there before the ready file, which scripts wait for"


async def test_security_R11_sigterm_during_the_start_is_an_orderly_end(tmp_path: Path) -> None:
    """Everything that was started is stopped; the next start finds a whole data directory."""
    lock = tmp_path / "data" / "lock"
    async with Program(*serve(tmp_path), environment=FREE_VARIABLES) as program:
        await until(lock.exists)
        program.send_signal(signal.SIGTERM)
        ended = await program.finish()
    async with Program(*serve(tmp_path), environment=FREE_VARIABLES) as again:
        await until_ready(again, tmp_path)

    assert ended.status == 0
    assert "Admin token" in ended.output
    assert "stopped" in ended.complaints


async def test_core_04_sighup_reloads_log_level_and_certificates(tmp_path: Path) -> None:
    """The streams and the ready file stay; a faulty file is named and changes nothing."""
    settings, key = tmp_path / "settings.toml", tmp_path / "data" / "pki" / "server-ec.pem"
    settings.write_text('[log]\nlevel = "info"\n')
    async with Program(*serve(tmp_path, "--config", str(settings)), environment=FREE_VARIABLES) as program:
        await until_ready(program, tmp_path)
        key.unlink()
        program.send_signal(signal.SIGHUP)
        while "reloaded " not in (renewed := await program.complaint()):
            pass
        settings.write_text("[log]\nlevel = 1\n")
        program.send_signal(signal.SIGHUP)
        while "reload_failed" not in (failed := await program.complaint()):
            pass
        settings.write_text('[log]\nlevel = "warning"\n')
        key.unlink()
        program.send_signal(signal.SIGHUP)
        await until(key.exists)
        ready = (tmp_path / "ready").exists()
        program.send_signal(signal.SIGTERM)
        ended = await program.finish()

    assert "certificates=new" in renewed
    assert "log.level: 1 is not" in failed
    assert ready
    assert ended.status == 0
    assert "stopped" not in ended.complaints, "the level is warning"
    assert not (tmp_path / "ready").exists()


async def test_core_04_sighup_of_a_closed_terminal_is_an_orderly_end(tmp_path: Path) -> None:
    """The ready file goes, streams are closed with 1001, although nothing can be printed any more."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *("setsid", "--ctty", *serve(tmp_path)),
        env={**os.environ, **FREE_VARIABLES},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        ready = tmp_path / "ready"
        await until(ready.exists)
        address = json.loads(ready.read_text())["http"]
        made = ("token", "create", "--data-dir", str(tmp_path / "data"), "--resource", "/")
        token = (await run(PROGRAM, *made)).output.strip()
        url = f"ws://{address}/span/activity"
        async with asyncio.timeout(PATIENCE), connect(url, additional_headers={"X-API-Token": token}) as stream:
            os.close(ours)
            with pytest.raises(ConnectionClosed) as closed:
                await stream.recv()
            status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert status == 0
    assert not ready.exists()
