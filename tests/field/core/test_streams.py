"""Streams as bad networks, browsers and odd clients open and end them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus

from span_events.config import HttpConfig
from span_events.errors import AccessDenied
from span_events.ids import render
from span_events.metrics import Metric
from span_events.web.streams.origins import Origins
from tests.attacks.sockets import connect, open_stream, receive, send, upgrade
from tests.bench.live import LiveServer
from tests.bench.servers import Running, activity, names, running
from tests.bench.waiting import PATIENCE, until
from tests.wire.test_client_frames import frame


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server."""
    async with running(tmp_path) as opened:
        yield opened


async def metric(site: Running, name: str) -> dict[str, float]:
    """Read a metric by its label."""
    (found,) = [each for each in site.server.metrics() if each.name == name and isinstance(each, Metric)]
    value = found.value()
    assert isinstance(value, dict)
    return value


async def test_core_05_a_client_that_leaves_during_the_handshake_leaves_no_traceback(tmp_path: Path) -> None:
    """With log.style = "json", every line is one JSON object, those of libraries included."""
    with LiveServer(tmp_path, {"log.style": "json"}) as server:
        for _ in range(30):
            opened = await connect(server, resets=True)
            await send(opened, upgrade(server))
            opened.close()
        for octets in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n"):
            opened = await connect(server)
            await send(opened, octets)
            await receive(opened)
            opened.close()
        await server.still_serves()

    lines = [json.loads(line) for line in server.log.splitlines()]
    assert [line for line in lines if "exception" in line or line["event"] == "library_message"] == []


async def test_core_06_a_refused_stream_is_one_line_a_minute_and_a_count(site: Running) -> None:
    """Without the token, whichever way it came."""
    secret = "5ec2e7" * 10
    with capture_logs() as lines:
        for headers in ({"X-API-Token": secret}, {"Authorization": secret}, {"Authorization": f"Bearer {secret}"}):
            for _ in range(3):
                with pytest.raises(InvalidStatus):
                    await site.stream(f"/span/activity?api_token={secret}", token="", headers=headers)
        with pytest.raises(InvalidStatus):
            await site.stream("/span/collections/17/activity")
    refused = [line for line in lines if line["event"] == "stream_refused"]

    assert [(line["reason"], line["status"], line["remote"]) for line in refused] == [
        ("unauthenticated", 401, "127.0.0.1"),
        ("not_found", 404, "127.0.0.1"),
    ]
    assert secret[:20] not in str(lines)
    assert await metric(site, "streams_refused") == {"unauthenticated": 9, "not_found": 1}


@pytest.mark.parametrize(
    ("octets", "code", "by"),
    [
        (frame(0x88, b"\x03\xe8bye"), 1000, "client"),
        (frame(0x88), 1005, "client"),
        (frame(0x88, b"\x0f\xa0"), 4000, "client"),
        (frame(0x91), 1002, "server"),
        (frame(0x81, b"\xff"), 1007, "server"),
        (frame(0x81, b"x" * 5000), 1009, "server"),
        (b"", 1006, "network"),
    ],
)
async def test_core_07_the_log_says_which_code_was_seen_and_who_ended_the_stream(
    site: Running, octets: bytes, code: int, by: str
) -> None:
    collection = await site.collection()
    await site.device(collection)
    with capture_logs() as lines:
        host, _, port = site.http.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        path = activity(collection) + "?tail=1"
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Token: {site.token}\r\nUpgrade: websocket\r\nConnection: Upgrade"
            "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        await site.joined(1)
        await site.device(collection)
        await reader.readuntil(b'"deviceCreated"')
        writer.write(octets)
        if not octets:
            writer.transport.abort()
        await until(lambda: any(line["event"] == "subscriber_left" for line in lines))
        writer.close()
    (left,) = [line for line in lines if line["event"] == "subscriber_left"]

    assert (left["code"], left["by"], left["dropped"]) == (code, by, 0)
    assert left["delivered"] == 2
    assert (await metric(site, "streams_ended"))[by] == 1


async def test_core_07_close_codes_are_echoed(site: Running) -> None:
    async with site.stream("/span/activity") as stream:
        await stream.close(4001, "enough")

    assert (stream.close_code, stream.protocol.close_rcvd) == (4001, stream.protocol.close_rcvd)
    assert stream.protocol.close_rcvd is not None
    assert stream.protocol.close_rcvd.code == 4001


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://localhost", "a", True),
        ("http://[::1]:3000", "", True),
        ("https://localhost:3000", "", True),
        ("https://127.0.0.1", "", True),
        ("https://span.example", "span.example", True),
        ("https://span.example", "span.example:443", True),
        ("https://span.example:443", "span.example", True),
        ("http://span.example", "span.example:80", True),
        ("https://span.example", "span.example:80", False),
        ("http://span.example:3000", "span.example", False),
        ("https://localhost.evil.example", "", False),
        ("http://[::1].evil.example", "", False),
    ],
)
def test_core_08_a_default_port_of_an_origin_equals_none(origin: str, host: str, allowed: bool) -> None:
    with nullcontext() if allowed else pytest.raises(AccessDenied):
        Origins(HttpConfig().allowed_origins).check(origin, host)


async def test_core_10_a_browser_sends_its_token_as_a_subprotocol(site: Running) -> None:
    """Only ``span`` is chosen: the token is not repeated."""
    protocols = [f"span.token.{site.token}", "span"]
    async with site.stream(
        "/span/activity", token="", headers={"Origin": "http://localhost"}, subprotocols=protocols
    ) as stream:
        await site.joined(1)
        await site.collection()
        assert stream.response is not None
        assert stream.response.headers["Sec-WebSocket-Protocol"] == "span"
        assert site.token not in str(stream.response.headers)

    with pytest.raises(InvalidStatus) as refused:
        await site.stream("/span/activity", token="", subprotocols=protocols[:1])
    assert refused.value.response.status_code == 400
    async with site.stream("/span/activity", subprotocols=["mqtt"]) as other:
        assert other.subprotocol is None


async def test_core_10_frames_after_a_close_are_ignored(tmp_path: Path) -> None:
    with LiveServer(tmp_path) as server:
        opened = await open_stream(server)
        await send(opened, frame(0x88, b"\x03\xe8") + frame(0x89, b"ping"))
        received = await receive(opened)
        opened.close()

    assert received == b"\x88\x02\x03\xe8"


async def test_core_11_a_handshake_without_upgrade_names_the_proxy(site: Running) -> None:
    host, _, port = site.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    head = f"GET /span/activity HTTP/1.1\r\nHost: a\r\nX-API-Token: {site.token}\r\nConnection: close\r\n{key}\r\n"
    writer.write(head.encode())
    reply = await reader.read()
    writer.close()
    hint = json.loads(reply.partition(b"\r\n\r\n")[2])["hint"]

    assert reply.startswith(b"HTTP/1.1 426 ")
    assert re.search("proxy.*dropped Upgrade.*proxy_set_header.*span-events guide proxies", hint)


async def test_clients_02_a_client_sends_its_token_as_the_first_message(site: Running) -> None:
    """As Span's command line does after a login; it may name a device."""
    collection = await site.collection()
    mine, other = await site.device(collection), await site.device(collection)
    message = {"jwt": site.token, "collectionId": render(collection.id), "deviceId": render(mine.id), "gatewayId": ""}
    async with site.stream(activity(collection), token="") as stream:
        await stream.send(json.dumps(message) + "\n")
        await site.joined(1)
        site.receive(other)
        site.receive(mine)

        assert await names(stream, 2) == ["clientConnected", "upstreamMessage"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('{"jwt": "nonsense"}', "The token is not known"),
        ("{}", "The token is not known"),
        ("hello", "the first message is not"),
        ('{"jwt": "{token}", "collectionId": "17"}', "collectionId is not that of the URL"),
        ('{"jwt": "{token}", "deviceId": "17"}', "There is no device 17"),
    ],
)
async def test_clients_02_a_wrong_first_message_is_refused_with_1008(site: Running, message: str, reason: str) -> None:
    collection = await site.collection()
    async with site.stream(activity(collection), token="") as stream:
        await stream.send(message.replace("{token}", site.token))
        with pytest.raises(ConnectionClosed):
            await stream.recv()

    assert stream.close_code == 1008
    assert stream.close_reason is not None
    assert reason in stream.close_reason


async def test_clients_02_silence_is_refused_with_1008(tmp_path: Path) -> None:
    async with running(tmp_path, streams={"token_timeout": 0.1}) as site:
        silent = await site.stream(activity(await site.collection()), token="")
        with pytest.raises(ConnectionClosed):
            await silent.recv()

    assert silent.close_code == 1008


async def test_clients_02_few_may_be_silent(tmp_path: Path) -> None:
    async with running(tmp_path, streams={"token_timeout": PATIENCE, "without_token": 2}) as site:
        collection = await site.collection()
        silent = [await site.stream(activity(collection), token="") for _ in range(2)]
        with pytest.raises(InvalidStatus) as refused:
            await site.stream(activity(collection), token="")
        for each in silent:
            await each.close()

    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"]


async def test_clients_02_a_client_with_a_wrong_or_no_token_for_everything_gets_401(site: Running) -> None:
    """The first message is for URLs of a collection, and for clients that send no credentials at all."""
    collection = await site.collection()
    for path, headers in (
        ("/span/activity", {}),
        (activity(collection), {"Origin": "http://localhost"}),
        (activity(collection), {"Authorization": "Bearer nonsense"}),
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with site.stream(path, token="", headers=headers):
                pass
        assert refused.value.response.status_code == 401
