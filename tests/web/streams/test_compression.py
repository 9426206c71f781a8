"""gzip of replies: only for clients that ask for it, and complete at each write."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from span_events.dialects.span import PLAIN
from span_events.events.activity import Origin
from span_events.events.filters import EVERYTHING, PASS_ALL
from span_events.fanout.subscriber import Stream, encoding
from span_events.web.streams import compression
from tests.bench.clock import settle
from tests.bench.programs import run
from tests.bench.servers import Running, activity, running
from tests.bench.waiting import PATIENCE
from tests.fanout.bench import CREATED, Bench, Pipe


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server."""
    async with running(tmp_path) as opened:
        yield opened


def session(site: Running, accept: str, coding: str) -> aiohttp.ClientSession:
    """Make a client that leaves bodies as they come."""
    headers = {"X-API-Token": site.token, "Accept": accept, "Accept-Encoding": coding}
    return aiohttp.ClientSession(f"http://{site.http}", headers=headers, auto_decompress=False)


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
async def test_each_write_is_decompressed_when_it_comes(site: Running, accept: str) -> None:
    """Also by a client that came later than others of its group, and with the past before."""
    collection = await site.collection()
    device = await site.device(collection)
    async with (
        session(site, accept, "gzip, deflate") as clients,
        clients.get(activity(collection)) as first,
        asyncio.timeout(PATIENCE),
    ):
        await site.joined(1)
        site.receive(device)
        async with clients.get(f"{activity(collection)}?tail=1") as second:
            await site.joined(2)
            unpack = [zlib.decompressobj(zlib.MAX_WBITS | 16) for _ in range(2)]
            seen = [b"", b""]
            for number in range(1, 4):
                site.receive(device, b"x" * (100 + number))
                word = b'"bytes":"%d"' % (100 + number)
                for index, reply in enumerate((first, second)):
                    while word not in seen[index]:
                        seen[index] += unpack[index].decompress(await reply.content.readany())

    assert first.headers["Content-Encoding"] == "gzip"
    assert [each.count(b'"upstreamMessage"') >= 4 for each in seen] == [True, True]


@pytest.mark.parametrize("coding", ["identity", "gzip;q=0", "gzip; q=0.0, identity", "br", "x-gzipped"])
async def test_a_client_that_does_not_ask_for_gzip_gets_none(site: Running, coding: str) -> None:
    collection = await site.collection()
    await site.device(collection)
    async with session(site, "*/*", coding) as clients, clients.get(f"{activity(collection)}?follow=0") as reply:
        assert "Content-Encoding" not in reply.headers
        assert json.loads(await reply.read())["event"] == "deviceCreated"


@pytest.mark.parametrize("coding", ["gzip", "br, gzip;q=0.5", "x-gzip;q=1.0"])
async def test_an_export_is_a_whole_file_of_gzip(site: Running, coding: str) -> None:
    """With its checksum; several parts of it are one member."""
    collection = await site.collection()
    for _ in range(150):
        await site.device(collection)
    async with session(site, "*/*", coding) as clients, clients.get(f"{activity(collection)}?follow=0") as reply:
        octets = await reply.read()

    assert gzip.decompress(octets).count(b'"deviceCreated"') == 150


async def test_curl_decompresses_an_export(site: Running) -> None:
    collection = await site.collection()
    await site.device(collection)
    url = f"http://{site.http}{activity(collection)}?follow=0"
    shown = await run("curl", "-sS", "--compressed", "-H", f"X-API-Token: {site.token}", url)

    assert (shown.status, shown.complaints) == (0, "")
    assert json.loads(shown.output)["event"] == "deviceCreated"


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
async def test_a_stream_that_the_server_ends_is_a_whole_file_of_gzip(site: Running, accept: str) -> None:
    """With the past, events, a keepalive and the reason of its end: Go's client reports a missing checksum."""
    collection = await site.collection()
    device = await site.device(collection)
    async with (
        session(site, accept, "gzip") as clients,
        clients.get(f"{activity(collection)}?tail=1&extended=1") as first,
        asyncio.timeout(PATIENCE),
    ):
        await site.joined(1)
        site.receive(device)
        async with clients.get(f"{activity(collection)}?tail=1&extended=1") as second:
            await site.joined(2)
            site.clock.shift(16)
            site.server.hub.sweep()
            site.receive(device)
            await site.server.subscribers.streams.close()
            bodies = [gzip.decompress(await each.read()) for each in (first, second)]

    assert [body.count(b"deviceCreated") > 0 for body in bodies] == [True, False]
    assert [body.count(b"keepalive") for body in bodies] == [1, 1]
    assert [body.endswith(b'data: {"reason":"the server shuts down"}\n\n') for body in bodies] == [
        accept == "text/event-stream"
    ] * 2


async def test_the_checksum_leaves_out_the_events_that_a_slow_reader_missed() -> None:
    bench, pipe = Bench(subscriber_buffer=1000), Pipe()
    member = compression.Member(pipe)
    blocks = encoding(PLAIN, bytes, lambda octets: compression.Block.of(octets, bytes), tells_gaps=True)
    bench.hub.subscribe(
        Stream.ACTIVITIES, (EVERYTHING,), PASS_ALL, blocks, sink=member, token_id=1, close=lambda *_: None
    )
    pipe.stalled = True
    for _ in range(30):
        bench.show(CREATED(origin=Origin(1, 2)))
        await settle()
    pipe.read_on()
    bench.hub.sweep()
    body = gzip.decompress(compression.HEAD + b"".join(pipe.writes) + member.end())

    assert 0 < bench.hub.dropped < 30
    assert body.count(b"deviceCreated") == 30 - bench.hub.dropped
    assert body.count(b"slowSubscriber") == 1


async def test_a_compressed_stream_that_the_server_ends_says_why(site: Running) -> None:
    record, text = await site.server.tokens.create(resource="/", write=False)
    headers = {"X-API-Token": text, "Accept": "text/event-stream", "Accept-Encoding": "gzip"}
    async with (
        aiohttp.ClientSession(headers=headers) as clients,
        clients.get(f"http://{site.http}/span/activity") as reply,
        asyncio.timeout(PATIENCE),
    ):
        await site.joined(1)
        site.server.subscribers.streams.revoke([record])

        assert (await reply.read()).endswith(b'data: {"reason":"the token was revoked"}\n\n')
