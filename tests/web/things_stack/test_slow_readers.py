"""Readers of The Things Stack's API that stop reading: the rules are those of WebSockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from span_events import ids
from span_events.events.activity import Origin
from span_events.events.catalogue import UpstreamMessage
from span_events.events.message import Transport
from tests.bench.waiting import PATIENCE, until
from tests.web.conftest import WebBench, web_bench
from tests.web.things_stack.client import application, body_of
from tests.web.things_stack.test_grpc import listening
from tests.web.things_stack.wire import Client, Refused, unpacked

SMALL = {"subscriber_buffer": 16_384, "send_buffer": 4096, "stalled_after": 30.0}


@asynccontextmanager
async def stalled_http(api: WebBench, collection: str) -> AsyncIterator[asyncio.StreamReader]:
    """A client of HTTP that reads the head and the first event only, until the reader is used."""
    host, port = api.url.removeprefix("http://").split(":")
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.connect((host, int(port)))
    opened.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=opened, limit=4096)
    body = body_of(application(collection))
    head = (
        f"POST /api/v3/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.admin}\r\n"
        f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await reader.readuntil(b"\n\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        yield reader
    finally:
        writer.close()


async def publish_until(api: WebBench, collection: str, dropped: int) -> int:
    """Publish events until some were dropped; return the number of published ones."""
    count = 0
    origin = Origin(ids.parse(collection), 7)
    while api.hub.dropped < dropped:
        for _ in range(20):
            api.fleet.bus.publish(UpstreamMessage(origin=origin, bytes=1, transport=Transport.UDP, detail="x" * 1000))
            count += 1
        await asyncio.sleep(0)
    return count


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """Yield the objects of a chunked reply, until its last chunk."""
    async with asyncio.timeout(PATIENCE):
        while size := int(await reader.readline(), 16):
            yield json.loads(await reader.readexactly(size))
            await reader.readexactly(2)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API with small buffers."""
    async with web_bench(tmp_path, fanout=SMALL) as bench:
        yield bench


async def test_an_http_reader_that_pauses_is_told_what_it_missed(api: WebBench) -> None:
    collection = await api.collection()
    async with stalled_http(api, collection) as reader:
        published = await publish_until(api, collection, dropped=1)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        got = 0
        async for frame in frames(reader):
            if frame["result"]["name"] == "events.stream.drop":
                break
            got += 1
            api.hub.sweep()

    details = frame["result"]["data"]
    assert details["name"] == "events_dropped"
    assert got + int(details["attributes"]["count"]) == published
    assert details["attributes"]["reason"] == "slowSubscriber"


async def test_an_http_reader_that_stays_behind_is_cut_with_an_error(api: WebBench) -> None:
    collection = await api.collection()
    async with stalled_http(api, collection) as reader:
        await publish_until(api, collection, dropped=1)
        await api.fleet.clock.advance(31.0)
        api.hub.sweep()
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        last = [frame async for frame in frames(reader)][-1]

    assert last["error"]["code"] == 8
    assert last["error"]["message"].startswith("error:span:stream_ended (behind for 30 s, ")
    assert api.hub.subscribers == 0


async def test_a_grpc_reader_that_pauses_is_told_what_it_missed(api: WebBench) -> None:
    """Its window is respected: what does not fit waits here, and is counted here."""
    collection = await api.collection()
    async with listening(api) as listener, Client(listener.address, api.admin) as client:
        stream = client.stream(application(collection))
        await stream.next()
        published = await publish_until(api, collection, dropped=1)
        got = 0
        while (event := await stream.next()).name != "events.stream.drop":
            got += 1
            api.hub.sweep()

    missed = int(unpacked(event.data).attributes["count"])
    assert got + missed == published


async def test_a_grpc_reader_that_stays_behind_is_cut(api: WebBench) -> None:
    """The library takes what waits now and then, although nobody reads: it has caught up, and falls behind again."""
    collection = await api.collection()
    async with listening(api) as listener, Client(listener.address, api.admin) as client:
        stream = client.stream(application(collection))
        await stream.next()
        while api.hub.subscribers:
            await publish_until(api, collection, dropped=api.hub.dropped + 1)
            await api.fleet.clock.advance(31.0)
            api.hub.sweep()
        with pytest.raises(Refused) as refused:
            await _read_on(stream)

    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details.name == "stream_ended"
    await until(lambda: api.hub.subscribers == 0)


async def _read_on(stream: Any) -> None:
    while True:
        await stream.next()
