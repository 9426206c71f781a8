"""The HTTP port behind load balancers and proxies, and with requests that are none."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from structlog.testing import capture_logs

from span_events.errors import StorageUnavailable
from span_events.registry.store import Store
from tests.bench.servers import Running, running
from tests.bench.waiting import until

UPGRADE: Final = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def exchange(site: Running, octets: bytes) -> bytes:
    """Send octets, and return everything that comes back."""
    host, _, port = site.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(octets)
    reply = await reader.read()
    writer.close()
    return reply


@pytest.mark.parametrize(
    ("octets", "status", "word"),
    [
        (b"GET /span/system?" + b"device=1234567&" * 700 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431, "over 8190 octets"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431, "over 8190 octets"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431, "over 128 headers"),
        (b"hello\r\n\r\n", 400, "no HTTP request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400, "no HTTP request"),
        (b"GET / HTTP/7\r\n\r\n", 400, "not valid HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbroken header\r\n\r\n", 400, "not valid HTTP/1.1"),
        (b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not valid HTTP/1.1"),
    ],
)
async def test_core_09_octets_that_are_no_http_get_a_problem_and_a_line(
    tmp_path: Path, octets: bytes, status: int, word: str
) -> None:
    """Nothing of Python in the body; one line a minute in the log."""
    async with running(tmp_path) as site:
        with capture_logs() as lines:
            replies = [await exchange(site, octets) for _ in range(3)]
    head, _, body = replies[0].partition(b"\r\n\r\n")
    problem = json.loads(body)
    ended = [line for line in lines if line["event"] == "connection_ended"]

    assert int(head.split()[1]) == status
    assert b"application/problem+json" in head
    assert word in problem["detail"]
    assert problem["hint"]
    assert "b'" not in body.decode()
    assert [(line["reason"], line["remote"], line["count"]) for line in ended] == [("malformed", "127.0.0.1", 1)]


async def test_core_11_a_forwarded_address_is_believed_from_configured_proxies_only(tmp_path: Path) -> None:
    """The last address that is no proxy of ours; what comes before it, the client may have made up."""
    found = {}
    for proxies in ((), ("127.0.0.1", "10.1.0.0/16")):
        async with running(tmp_path / str(len(proxies)), http={"proxies": proxies}) as site:
            for forwarded in ("192.0.2.7", "6.6.6.6, 192.0.2.7:4711, 10.1.2.3", "6.6.6.6, unknown, 10.1.2.3", ""):
                with capture_logs() as lines:
                    async with site.stream("/span/activity", headers={"X-Forwarded-For": forwarded}):
                        await site.joined(1)
                    await site.joined(0)
                (joined,) = [line for line in lines if line["event"] == "subscriber_joined"]
                found[len(proxies), forwarded] = joined["remote"]

    assert {address for (proxies, _), address in found.items() if not proxies} == {"127.0.0.1"}
    assert [address for (proxies, _), address in found.items() if proxies] == [
        *("192.0.2.7", "192.0.2.7"),
        *("10.1.2.3", "127.0.0.1"),
    ]


async def test_core_12_a_registry_that_cannot_be_written_is_alive_but_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ready again as soon as it can."""
    async with running(tmp_path) as site, aiohttp.ClientSession(f"http://{site.http}") as session:

        async def statuses() -> list[int]:
            return [(await session.get(path)).status for path in ("/healthz", "/readyz")]

        async def full(_store: Store) -> None:
            raise StorageUnavailable("The registry cannot be used: database or disk is full")

        well = await statuses()
        with monkeypatch.context() as broken:
            broken.setattr(Store, "probe", full)
            await site.clock.advance(11)
            await until(lambda: "registry_write" in site.server.health())
            ill = await statuses()
        await site.clock.advance(11)
        await until(lambda: "registry_write" not in site.server.health())
        again = await statuses()

    assert (well, ill, again) == ([200, 200], [200, 503], [200, 200])
