"""The contract of ``serve`` for scripts and supervisors: ready file, signals, exit statuses, and who gets a token."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from tests.bench.live import LiveServer
from tests.bench.ports import FREE_VARIABLES
from tests.bench.programs import PROGRAM, Finished, Program, run
from tests.bench.waiting import until

LISTENERS: Final = {
    **dict.fromkeys(("http", "gateways", "blobs", "blobs_tls", "things_stack", "mqtt"), socket.SOCK_STREAM),
    **dict.fromkeys(("datagrams", "coap", "coaps"), socket.SOCK_DGRAM),
}
VARIABLES: Final = {name: f"SPAN_EVENTS_{name.upper()}__PORT" for name in LISTENERS} | {
    "blobs_tls": "SPAN_EVENTS_BLOBS__TLS_PORT",
    "things_stack": "SPAN_EVENTS_THINGS_STACK__GRPC_PORT",
}
TOKEN: Final = re.compile(r"[0-9a-f]{64}")


def serve(
    folder: Path,
    *arguments: str,
    data_dir: Path | None = None,
    settings: Mapping[str, str] | None = None,
    terminal: bool = False,
) -> Program:
    """Make a server on free ports; enter it to start it."""
    where = ("--data-dir", str(data_dir or folder / "data"), "--ready-file", str(folder / "ready"))
    variables = {**FREE_VARIABLES, **(settings or {})}
    return Program(PROGRAM, "serve", *where, *arguments, environment=variables, terminal=terminal)


async def refuses_to_start(
    folder: Path, *arguments: str, data_dir: Path | None = None, settings: Mapping[str, str] | None = None
) -> Finished:
    """Start a server that cannot; return what it says."""
    async with serve(folder, *arguments, data_dir=data_dir, settings=settings) as server:
        ended = await server.finish()

    assert not (folder / "ready").exists()
    assert "Traceback" not in ended.complaints
    assert ended.output == ""
    return ended


async def create_token(folder: Path, *rights: str) -> str:
    """Make a token with the command line; it is printed alone."""
    ended = await run(PROGRAM, "token", "create", "--data-dir", str(folder / "data"), "--resource", "/", *rights)
    assert ended.status == 0, ended.complaints
    assert TOKEN.fullmatch(ended.output.removesuffix("\n"))
    return ended.output.strip()


async def banner(server: Program) -> str:
    """Read what a server says at its start."""
    lines = [await server.line()]
    while "Ctrl-C" not in lines[-1]:
        lines.append(await server.line())
    return "\n".join(lines)


async def status_with(folder: Path, token: str) -> str:
    """Ask the server something with a token; return the HTTP status."""
    url = f"http://{json.loads((folder / 'ready').read_text())['http']}/span/collections"
    ended = await run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"X-API-Token: {token}", url)
    return ended.output


def is_bound(kind: socket.SocketKind, address: str) -> bool:
    """Tell whether somebody has a port."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind((host, int(port)))
        except OSError:
            return True
    return False


async def test_the_ready_file_appears_complete_when_everything_is_bound(tmp_path: Path) -> None:
    """It is there in one step, and goes at SIGTERM; the exit status is 0."""
    ready = tmp_path / "ready"
    async with serve(tmp_path) as server:
        await until(ready.exists)
        text = ready.read_text()
        bound = {name: is_bound(kind, json.loads(text)[name]) for name, kind in LISTENERS.items()}
        beside = os.listdir(tmp_path)
        server.send_signal(signal.SIGTERM)
        ended = await server.finish()

    assert json.loads(text).keys() == LISTENERS.keys()
    assert bound == dict.fromkeys(LISTENERS, True)
    assert sorted(beside) == ["data", "ready"]
    assert not ready.exists()
    assert ended.status == 0
    assert all(address in ended.output for address in json.loads(text).values())


async def test_a_start_removes_the_ready_file_of_a_killed_server(tmp_path: Path) -> None:
    """It would tell a supervisor that what is only starting is ready, and where another one was."""
    (tmp_path / "ready").write_text('{"http": "127.0.0.1:1"}')

    ended = await refuses_to_start(tmp_path, settings={"SPAN_EVENTS_HTTP__HOST": "192.0.2.1"})  # nobody has this

    assert ended.status == 3


async def test_a_second_signal_ends_the_server_at_once(tmp_path: Path) -> None:
    """The first one has taken the ready file away, and waits for a request whose body does not come."""
    async with serve(tmp_path) as server:
        await banner(server)
        token = await create_token(tmp_path, "--write")
        host, _, port = json.loads((tmp_path / "ready").read_text())["http"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with closing(writer):
            writer.write(
                b"POST /span/collections HTTP/1.1\r\nHost: x\r\nX-API-Token: %s\r\n"
                b"Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n" % token.encode()
            )
            assert b"100 Continue" in await reader.readline()
            server.send_signal(signal.SIGTERM)
            await until(lambda: not (tmp_path / "ready").exists())
            still_running = server.running
            server.send_signal(signal.SIGTERM)
            ended = await server.finish()

    assert still_running
    assert ended.status == 130


@pytest.mark.parametrize("listener", LISTENERS)
async def test_a_port_in_use_ends_with_status_3(tmp_path: Path, listener: str) -> None:
    """The error names listener and port; no ready file ever appears."""
    with closing(socket.socket(socket.AF_INET, LISTENERS[listener])) as taken:
        taken.bind(("127.0.0.1", 0))
        if taken.type == socket.SOCK_STREAM:
            taken.listen()
        port = str(taken.getsockname()[1])
        ended = await refuses_to_start(tmp_path, settings={VARIABLES[listener]: port})

    assert ended.status == 3
    error, hint = ended.complaints.splitlines()[-2:]
    assert error.startswith(f"error: {listener}: ")
    assert port in error
    assert "Address already in use" in error
    assert hint.startswith("hint: ")


async def test_an_invalid_configuration_ends_with_status_2_and_names_every_fault(tmp_path: Path) -> None:
    """From the file and from the environment, each with its path; nothing was started."""
    file = tmp_path / "config.toml"
    file.write_text('[coap]\nport = 70000\nprot = 1\n[http]\nport = "many"\n[nothing]\n')
    settings = {"SPAN_EVENTS_HTTP__PORT": "many", "SPAN_EVENTS_SESSIONS__IDLE_TIMEOUT": "soon"}
    ended = await refuses_to_start(tmp_path, "--config", str(file), settings=settings)

    assert ended.status == 2
    errors = [line for line in ended.complaints.splitlines() if line.startswith("error: ")]
    for path in ("http.port: ", "coap.prot: ", "nothing: ", "sessions.idle_timeout: "):
        assert sum(line.startswith(f"error: {path}") for line in errors) == 1, (path, errors)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("text", ["[coap", None], ids=["no TOML", "no file"])
async def test_a_configuration_that_cannot_be_read_ends_with_status_2(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "config.toml"
    if text is not None:
        file.write_text(text)
    ended = await refuses_to_start(tmp_path, "--config", str(file))

    assert ended.status == 2
    assert str(file) in ended.complaints


def below_a_file(folder: Path) -> Path:
    """Return a data directory that cannot be made."""
    (folder / "file").touch()
    return folder / "file" / "data"


def where_nobody_may_write(folder: Path) -> Path:
    """Return a data directory in a file system that takes no folders, from root neither."""
    return Path("/proc/span-events")


def with_a_strange_registry(folder: Path) -> Path:
    """Return a data directory whose registry is no database."""
    (folder / "data").mkdir()
    (folder / "data" / "registry.sqlite").write_bytes(b"this is not a database, but long enough for one" * 40)
    return folder / "data"


@pytest.mark.parametrize("make", [below_a_file, where_nobody_may_write, with_a_strange_registry])
async def test_a_data_directory_that_cannot_be_used_ends_with_status_4(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """The error names it."""
    data_dir = make(tmp_path)
    ended = await refuses_to_start(tmp_path, data_dir=data_dir)

    assert ended.status == 4
    error, hint = ended.complaints.splitlines()[-2:]
    assert error.startswith("error: ")
    assert str(data_dir) in error
    assert hint.startswith("hint: ")


async def test_the_admin_token_is_shown_at_the_first_start_only(tmp_path: Path) -> None:
    """On a terminal. It is good from then on; later starts neither repeat it nor make another one."""
    shown = []
    for _ in range(2):
        async with serve(tmp_path, terminal=True) as server:
            shown.append(TOKEN.findall(await banner(server)))
            server.send_signal(signal.SIGINT)
            ended = await server.finish()
            assert ended.status == 0
            assert TOKEN.search(ended.complaints) is None
    listed = await run(PROGRAM, "token", "list", "--data-dir", str(tmp_path / "data"), "--json")

    assert [len(each) for each in shown] == [1, 0]
    assert [each["name"] for each in json.loads(listed.output)["tokens"]] == ["admin (first start)"]
    assert TOKEN.search(listed.output) is None


async def test_tokens_are_created_before_during_and_after_a_run(tmp_path: Path) -> None:
    """The registry is shared; a server that finds a token makes no admin token of its own."""
    before = await create_token(tmp_path, "--write")
    async with serve(tmp_path) as server:
        said = await banner(server)
        during = await create_token(tmp_path)
        answers = [await status_with(tmp_path, token) for token in (before, during, "0" * 64)]
        server.send_signal(signal.SIGTERM)
        await server.finish()
    after = await create_token(tmp_path)
    async with serve(tmp_path) as server:
        await banner(server)
        answers += [await status_with(tmp_path, token) for token in (before, during, after)]

    assert "shown this once" not in said
    assert f"span-events token create --data-dir {tmp_path / 'data'} --resource / --write" in said
    assert answers == ["200", "200", "401", "200", "200", "200"]


async def test_a_second_server_in_the_same_data_directory_ends_with_status_4(tmp_path: Path) -> None:
    """Each writes whole rows from its memory, so two would undo each other's changes; the first one goes on."""
    (tmp_path / "second").mkdir()
    with LiveServer(tmp_path) as first:
        ended = await refuses_to_start(tmp_path / "second", data_dir=first.data_dir)
        served = await first.still_serves()
        first.stop()
        with closing(sqlite3.connect(first.data_dir / "registry.sqlite")) as registry:
            checked = registry.execute("PRAGMA integrity_check").fetchall()

    assert ended.status == 4
    error, hint = ended.complaints.splitlines()[-2:]
    assert re.fullmatch(rf"error: {first.data_dir}: is in use by another server \(process \d+\)", error)
    assert hint.startswith("hint: Stop the other server")
    assert served
    assert checked == [("ok",)]


async def test_a_server_starts_after_a_killed_one(tmp_path: Path) -> None:
    """Neither its lock nor its ready file."""
    async with serve(tmp_path) as killed:
        await banner(killed)
        killed.send_signal(signal.SIGKILL)
        await killed.finish()
    left = (tmp_path / "ready").exists()
    async with serve(tmp_path) as server:
        said = await banner(server)
        server.send_signal(signal.SIGTERM)
        ended = await server.finish()

    assert left
    assert "is ready" in said
    assert ended.status == 0
    assert not (tmp_path / "ready").exists()
