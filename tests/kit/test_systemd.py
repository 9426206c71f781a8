"""The systemd unit: its hardening, and the reports of a server that was started by its command line."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from span_events import config
from span_events.accepting import kept_back
from span_events.app.bounds import connections_of
from span_events.app.notify import Manager
from span_events.app.workers.child import START_LIMIT
from tests.bench.ports import FREE_VARIABLES
from tests.bench.programs import PROGRAM, find_program
from tests.bench.waiting import PATIENCE

ROOT: Final = Path(__file__).parents[2]
UNIT: Final = ROOT / "config" / "systemd" / "span-events.service"
TEXT: Final = UNIT.read_text()
WORST: Final = 2.5
"""Exposure level, of 10, that `systemd-analyze security` may give."""


def test_the_unit_has_the_descriptors_that_the_default_bounds_need_and_the_guide_their_number() -> None:
    limit = int(re.findall(r"^LimitNOFILE=(\d+)$", TEXT, re.MULTILINE)[0])
    needed = connections_of(config.Config()) + kept_back(limit)

    assert needed <= limit
    assert f"The default bounds need {needed:,}:" in (ROOT / "span_events" / "guides" / "operating.md").read_text()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The datagram socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.setblocking(False)
        yield bound


async def heard(manager: socket.socket, first: str) -> str:
    """Return the next report that begins with a line, after others."""
    async with asyncio.timeout(PATIENCE):
        while True:
            report = (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode()
            if report.splitlines()[0] == first:
                return report


async def test_the_command_of_the_unit_reports_ready_watchdog_reload_and_stop(
    tmp_path: Path, manager: socket.socket
) -> None:
    """The unit's settings reach the program; its data is for its owner alone."""
    (command,) = re.findall(r"^ExecStart=\S+ (.+)$", TEXT, re.MULTILINE)
    arguments = command.replace("%S", str(tmp_path)).replace("%E", str(tmp_path)).split()
    (tmp_path / "span-events").mkdir(mode=0o700)
    (tmp_path / "span-events" / "span-events.toml").write_text(config.render_file(None))
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, *arguments),
        env=os.environ | FREE_VARIABLES | {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "150000"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        ready = await heard(manager, "READY=1")
        for _ in range(3):
            await heard(manager, "WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        reloading = await heard(manager, "RELOADING=1")
        await heard(manager, "READY=1")
        process.terminate()
        await heard(manager, "STOPPING=1")
        output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert process.returncode == 0, complaints.decode()
    assert re.fullmatch(r"READY=1\nSTATUS=http 127\.0\.0\.1:\d+, 0 devices", ready)
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reloading)
    token = (tmp_path / "span-events" / "admin-token").read_text().strip()
    assert token not in (output + complaints).decode()


def test_systemd_verifies_the_unit_and_rates_its_hardening(tmp_path: Path) -> None:
    runnable = tmp_path / UNIT.name
    runnable.write_text(TEXT.replace("/opt/span-events/bin/span-events", PROGRAM))
    analyze = find_program("systemd-analyze")
    verified = subprocess.run([analyze, "verify", runnable], capture_output=True, text=True, check=False)
    rated = subprocess.run(
        [analyze, "security", "--offline=true", runnable], capture_output=True, text=True, check=False
    )
    (level,) = re.findall(r"exposure level for \S+: ([\d.]+)", rated.stdout)

    assert (verified.returncode, verified.stderr) == (0, "")
    assert float(level) < WORST


def test_systemd_waits_for_the_longest_start() -> None:
    """With workers, the device node may take as long as a child may, and then the others together."""
    (seconds,) = re.findall(r"^TimeoutStartSec=(\d+)$", TEXT, re.MULTILINE)

    assert int(seconds) > 2 * START_LIMIT


async def test_a_socket_in_the_abstract_namespace_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("")  # the kernel chooses an abstract name
        name = bound.getsockname().decode()
        with closing(Manager({"NOTIFY_SOCKET": name.replace("\0", "@")})) as reports:
            reports.ready()

        assert bound.recv(100) == b"READY=1"


@pytest.mark.parametrize("variables", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}])
async def test_without_a_watchdog_of_its_own_a_process_reports_no_life(
    manager: socket.socket, variables: dict[str, str]
) -> None:
    with closing(Manager({"NOTIFY_SOCKET": manager.getsockname()} | variables)) as reports:
        await asyncio.wait_for(reports.keep_alive(), PATIENCE)

        with pytest.raises(BlockingIOError):
            manager.recv(100)


async def test_a_manager_that_is_gone_or_was_never_there_harms_nothing(tmp_path: Path) -> None:
    for variables in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
        with closing(Manager(variables)) as reports:
            reports.ready()
            reports.stopping()
