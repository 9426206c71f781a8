"""Bounds of gRPC: streams of a token, handshakes under way, and clients that do not read how their calls end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import hpack
import pytest

from span_events.clock import SystemClock
from span_events.web import tls
from span_events.wire.openssl import Identity
from tests.attacks.flooding_gateway import frame
from tests.bench.authorities import open_authority
from tests.bench.waiting import PATIENCE, until
from tests.web.conftest import WebBench, web_bench
from tests.web.things_stack.client import Raw, application, body_of
from tests.web.things_stack.test_grpc import listening
from tests.web.things_stack.test_slow_readers import SMALL, publish_until
from tests.web.things_stack.wire import Client, Refused, message_of


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
        headers = (
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", "/ttn.lorawan.v3.Events/Stream"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", f"bearer {api.admin}"),
        )
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
