"""A server that has fewer descriptors than connections are asked for."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Final

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.bench.ports import FREE_VARIABLES
from tests.bench.programs import PROGRAM, Program, run
from tests.bench.waiting import PATIENCE
from tests.field.serving import get, serve, until_ready

FEW: Final = 200
"""Descriptors."""


def limited(folder: Path, *, hard: int = FEW) -> Program:
    """Make a server that starts with few descriptors, and may raise its limit to the hard one."""
    return Program(*serve(folder), environment=FREE_VARIABLES, descriptors=(FEW, hard))


async def test_core_03_the_soft_limit_of_descriptors_is_raised(tmp_path: Path) -> None:
    """Systemd's is 1024, whatever the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with limited(tmp_path, hard=hard) as program:
        await until_ready(program, tmp_path)
        line = await program.complaint()
        while "descriptor_limit_raised" not in line:
            line = await program.complaint()

    assert "was=200" in line


async def test_core_03_streams_without_a_descriptor_are_refused_with_503(tmp_path: Path) -> None:
    """260 are asked for; those that are open go on, health and metrics can be read, and room is found again."""
    async with limited(tmp_path) as program, AsyncExitStack() as stack:
        addresses = await until_ready(program, tmp_path)
        made = await run(PROGRAM, "token", "create", "--data-dir", str(tmp_path / "data"), "--resource", "/", "--write")
        headers = {"X-API-Token": made.output.strip()}
        url = f"ws://{addresses['http']}/span/activity?event=messageRejected"
        streams, refused = [], []
        for _ in range(260):
            try:
                streams.append(await stack.enter_async_context(connect(url, additional_headers=headers)))
            except InvalidStatus as exc:
                refused.append(exc.response)
        parts = json.loads(await get(addresses["http"], "/healthz"))["parts"]
        metrics = await get(addresses["http"], "/metrics")
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
            host, _, port = addresses["datagrams"].rpartition(":")
            stranger.sendto(b"hello", (host, int(port)))
            async with asyncio.timeout(PATIENCE):
                events = [await each.recv() for each in (streams[0], streams[-1])]
        await streams.pop().close()
        async with connect(url, additional_headers=headers):
            pass

    assert len(streams) > 100
    assert len(refused) > 60
    assert {each.status_code for each in refused} == {503}
    assert b"no descriptors left for another stream" in (refused[-1].body or b"")
    assert "no descriptors left" in parts["http"]
    assert f'span_events_accepts_refused_total{{listener="http"}} {len(refused)}.0\n' in metrics
    assert events[0] == events[1]
    assert "unknownAddress" in str(events[0])


async def test_core_03_connections_without_a_descriptor_are_refused_audibly(tmp_path: Path) -> None:
    """The client is told by a close; the log, the metrics and the health say so; the others are served."""
    async with limited(tmp_path) as program:
        addresses = await until_ready(program, tmp_path)
        host, _, port = addresses["blobs"].rpartition(":")
        with ExitStack() as stack:
            clients = [stack.enter_context(closing(socket.create_connection((host, int(port))))) for _ in range(260)]
            ends = clients[-1].recv(1)
            line = await program.complaint()
            seen = [line]
            while "accept_refused" not in line:
                line = await program.complaint()
                seen.append(line)
            parts = json.loads(await get(addresses["http"], "/healthz"))["parts"]
            metrics = await get(addresses["http"], "/metrics")
            clients[0].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = clients[0].recv(9)

    name = 'span_events_accepts_refused_total{listener="blobs"}'
    (refused,) = [each for each in metrics.splitlines() if each.startswith(name)]
    assert ends == b""
    assert any("descriptors_too_few" in each and "limit=200" in each for each in seen)
    assert "listener=blobs" in line
    assert "descriptors are used" in line
    assert "no descriptors left" in parts["blobs"]
    assert 60 < float(refused.split()[-1]) < 260
    assert answer.startswith(b"HTTP/1.")
