"""Bounds of gRPC: streams of a token, handshakes under way, and clients that do not read how their calls end."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import grpc
import hpack
import pytest
from structlog.testing import capture_logs

from span_events.clock import SystemClock
from span_events.web import tls
from span_events.web.things_stack import grpc_connection
from span_events.wire.openssl import Identity
from tests.attacks.flooding_gateway import frame
from tests.bench.authorities import open_authority
from tests.bench.waiting import PATIENCE, until
from tests.web.conftest import WebBench, web_bench
from tests.web.things_stack.client import Raw, application, body_of
from tests.web.things_stack.test_console import console
from tests.web.things_stack.test_grpc import listening
from tests.web.things_stack.test_slow_readers import SMALL, publish_until
from tests.web.things_stack.wire import Client, Refused, message_of

CALL: Final = (
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/ttn.lorawan.v3.Events/Stream"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)
"""Headers of a call, without a token."""


async def test_a_token_has_so_many_streams_over_grpc_and_http_together(tmp_path: Path) -> None:
    """The refusal names the setting; a stream that ends leaves its place to the next one."""
    async with web_bench(tmp_path, streams={"per_token": 2}) as api:
        collection = await api.collection()
        async with listening(api) as listener, Client(listener.address, api.admin) as client:
            first = client.stream(application(collection))
            await first.next()
            async with Raw(api, body_of(application(collection))) as other:
                await other.event()
                with pytest.raises(Refused) as refused:
                    await client.stream(application(collection)).next()
                async with Raw(api, body_of(application(collection))) as over_http:
                    await over_http.rest()
                first.call.cancel()
                await until(lambda: api.hub.subscribers == 1)
                start = await client.stream(application(collection)).next()
                await client.related("cause:x")

    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "There are 2 streams of this token, as many as streams.per_token allows" in refused.value.text
    assert (refused.value.details.namespace, refused.value.details.name) == ("span", "limit_reached")
    assert over_http.status == 429
    assert start.name == "events.stream.start"


async def test_streams_of_an_address_are_bounded_whatever_their_tokens(tmp_path: Path) -> None:
    async with web_bench(tmp_path, streams={"per_address": 1}) as api:
        collection = await api.collection()
        async with listening(api) as listener, Client(listener.address, api.admin) as client:
            await client.stream(application(collection)).next()
            async with Client(listener.address, await api.token()) as another:
                with pytest.raises(Refused) as refused:
                    await another.stream(application(collection)).next()

    assert "streams.per_address" in refused.value.text


async def test_a_stream_of_many_entities_counts_as_several(tmp_path: Path) -> None:
    """Each takes memory for as long as the stream lasts: every 50 count as another stream, on all three surfaces."""
    async with web_bench(tmp_path, streams={"per_token": 5}) as api:
        collection = await api.collection()
        many = [application(collection)] * 100
        async with listening(api) as listener, Client(listener.address, api.admin) as client:
            first = client.stream(*many)
            await first.next()
            async with Raw(api, body_of(*many)) as over_http:
                refusal = await over_http.rest()
            with pytest.raises(Refused) as over_grpc:
                await client.stream(*many).next()
            async with console(api) as page:
                small = await page.ask(type="subscribe", id=1, identifiers=many[:99])
                in_console = await page.ask(type="subscribe", id=2, identifiers=many[:50])
                await page.ask(type="unsubscribe", id=1)
                again = await page.ask(type="subscribe", id=2, identifiers=many[:50])
            first.call.cancel()
            await until(lambda: api.hub.subscribers == 0)
            await client.stream(*many).next()

    text = (
        "3 of the 5 streams of this token that streams.per_token allows are taken, and this one counts as 3 for its"
        " many entities"
    )
    assert over_http.status == 429
    assert text in refusal.decode()
    assert over_grpc.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text in over_grpc.value.text
    assert (small["type"], again["type"]) == ("subscribe", "subscribe")
    assert in_console["error"]["code"] == 8


async def test_a_stream_goes_on_while_its_client_makes_more_calls_than_a_connection_takes(
    api: WebBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is asked for another connection before the bound, and no call fails."""
    monkeypatch.setattr(grpc_connection, "_ALL_STREAMS", 4)
    monkeypatch.setattr(grpc_connection, "_LATE_STREAMS", 1)
    collection = await api.collection()
    async with listening(api) as listener, Client(listener.address, api.admin) as client:
        stream = client.stream(application(collection))
        await stream.next()
        for _ in range(12):
            await client.related("cause:01HF7YATZ60000000000000003")
        device_id = await api.device(collection)
        event = await stream.next()
        connections = len(listener._connections)

    assert event.identifiers[0].device_ids.device_id == device_id
    assert connections > 1


DATA: Final = 0
PING: Final = 6


async def until_frame(reader: asyncio.StreamReader, kind: int) -> None:
    """Read frames up to one of a kind."""
    while True:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3]))
        if head[3] == kind:
            return


ANSWER: Final = frame(PING, 0, 0, bytes(8)) + b"".join(frame(8, 0, stream, (600).to_bytes(4)) for stream in (0, 1))
"""Frames with which grpc-go answers one with data."""


@asynccontextmanager
async def following(
    api: WebBench, address: str, collection: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that writes each frame itself, after the first event."""
    request = message_of("StreamEventsRequest")(identifiers=[application(collection)]).SerializeToString()
    headers = hpack.Encoder().encode((*CALL, ("authorization", f"bearer {api.admin}")))
    host, port = address.split(":")
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, headers))
        writer.write(frame(DATA, 1, 1, struct.pack("!BL", 0, len(request)) + request))
        await until_frame(reader, DATA)
        yield reader, writer
        writer.close()


async def test_a_client_may_answer_each_event_with_frames(api: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """grpc-go pings for each frame with data, to measure, and opens two windows: that is no flood, however long."""
    monkeypatch.setattr(grpc_connection, "_BURST", 30)
    collection = await api.collection()
    device_id = await api.device(collection)
    async with listening(api) as listener, following(api, listener.address, collection) as (reader, writer):
        for _ in range(40):
            api.receive(device_id)
            await until_frame(reader, DATA)
            writer.write(ANSWER)


async def test_a_client_may_answer_many_events_late_and_in_many_writes(
    api: WebBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a replay. It may not answer more than there were: the log says why its stream has ended."""
    monkeypatch.setattr(grpc_connection, "_BURST", 10)
    collection = await api.collection()
    device_id = await api.device(collection)
    with capture_logs() as lines:
        async with listening(api) as listener, following(api, listener.address, collection) as (reader, writer):
            for _ in range(20):
                api.receive(device_id)
                await until_frame(reader, DATA)
            for _ in range(20):
                writer.write(ANSWER)
                await until_frame(reader, PING)
            writer.write(20 * ANSWER)
            await reader.read()
            await until(lambda: not listener._connections)
    (left,) = [each for each in lines if each["event"] == "subscriber_left"]

    assert (left["by"], left["reason"]) == ("server", "the client floods the connection with frames")


@pytest.mark.parametrize("path", ["/ttn.lorawan.v3.Events/Stream", "/none"])
async def test_a_connection_without_end_to_its_calls_is_ended(
    api: WebBench, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A client that goes on calling after it was asked for another connection."""
    call = [(name, path if name == ":path" else value) for name, value in CALL]
    monkeypatch.setattr(grpc_connection, "_ALL_STREAMS", 2)
    monkeypatch.setattr(grpc_connection, "_LATE_STREAMS", 1)
    encoder = hpack.Encoder()
    async with listening(api) as listener:
        host, port = listener.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        for number in range(1, 9, 2):
            writer.write(frame(1, 4, number, encoder.encode(call)) + frame(0, 1, number, bytes(5)))
        async with asyncio.timeout(PATIENCE):
            received = await reader.read()
        writer.close()
    farewells = re.findall(rb"\0\0\x08\x07\0\0\0\0\0(.{4})\0\0\0\0", received, re.DOTALL)

    assert [int.from_bytes(each) for each in farewells] == [(1 << 31) - 1, 7]


# ---- handshakes ------------------------------------------------------------------------------


@pytest.fixture
async def identities(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    """The certificate of a server."""
    made = await open_authority(tmp_path_factory.mktemp("pki") / "new", SystemClock())
    shown = made.server_identity()
    return [Identity(shown.key_pem, shown.certificates_pem)]


@asynccontextmanager
async def silent(address: str) -> AsyncIterator[asyncio.StreamReader]:
    """A client that connects and sends nothing."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader
    finally:
        writer.close()


async def test_one_handshake_too_many_displaces_the_one_that_began_first(
    api: WebBench, identities: list[Identity]
) -> None:
    async with AsyncExitStack() as opened:
        enter = opened.enter_async_context
        listener = await enter(listening(api, identities=identities, grpc_tls=True, grpc_connections=2))
        first, *others = [await enter(silent(listener.address)) for _ in range(3)]
        async with asyncio.timeout(PATIENCE):
            assert await first.read() == b""

        assert not any(each.at_eof() for each in others)
        (displaced,) = [each.value() for each in listener.metrics() if each.name == "things_stack_displaced"]
        assert displaced == 1


async def test_the_end_does_not_wait_for_handshakes(
    api: WebBench, identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_HANDSHAKE", 2 * PATIENCE)
    async with AsyncExitStack() as opened:
        enter = opened.enter_async_context
        listener = await enter(listening(api, identities=identities, grpc_tls=True))
        clients = [await enter(silent(listener.address)) for _ in range(3)]
        await until(lambda: len(listener._tls.opening) == 3)
        await listener.stop()
        async with asyncio.timeout(PATIENCE):
            await listener.close()
            for each in clients:
                assert await each.read() == b""


# ---- clients that do not read ----------------------------------------------------------------


@asynccontextmanager
async def deaf_client(api: WebBench, address: str, collection: str) -> AsyncIterator[socket.socket]:
    """A client whose windows are wide open, and which follows a collection without ever reading."""
    host, port = address.split(":")
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect((host, int(port)))
        request = message_of("StreamEventsRequest")(identifiers=[application(collection)]).SerializeToString()
        headers = (*CALL, ("authorization", f"bearer {api.admin}"))
        wide = struct.pack("!L", (1 << 31) - 1 - 65_535)
        opened.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(4, 0, 0, struct.pack("!HL", 4, (1 << 31) - 1))
            + frame(8, 0, 0, wide)
            + frame(1, 4, 1, hpack.Encoder().encode(headers))
            + frame(0, 1, 1, struct.pack("!BL", 0, len(request)) + request)
        )
        await until(lambda: api.hub.subscribers == 1)
        yield opened


async def test_a_client_that_leaves_without_reading_is_cut(tmp_path: Path) -> None:
    """Behind its GOAWAY, nothing bounds the time for which its octets wait but a timer."""
    async with web_bench(tmp_path, fanout=SMALL) as api:
        collection = await api.collection()
        async with AsyncExitStack() as opened:
            listener = await opened.enter_async_context(listening(api))
            client = await opened.enter_async_context(deaf_client(api, listener.address, collection))
            await publish_until(api, collection, dropped=1)
            (connection,) = listener._connections
            client.sendall(frame(7, 0, 0, bytes(8)))
            await until(lambda: not listener._connections)

    assert connection._transport.is_closing()
    assert api.hub.subscribers == 0
