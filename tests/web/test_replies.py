"""Streams without WebSocket: Server-Sent Events, lines of JSON, and the past alone."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from span_events.events.filters import EVERYTHING, PASS_ALL
from span_events.ids import from_ulid, render, to_ulid
from tests.bench.servers import Running, activity, connections, running, stalled_client
from tests.bench.waiting import PATIENCE, until

SSE = {"Accept": "text/event-stream"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with a short history."""
    settings = {"events": {"history_per_collection": 8}, "streams": {"max_tail": 50}}
    async with running(tmp_path, **settings) as opened:
        yield opened


@asynccontextmanager
async def reply(
    site: Running, path: str, *, headers: dict[str, str] | None = None, query: dict[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Ask for a stream, as the admin."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"http://{site.http}{path}", headers={"X-API-Token": site.token} | (headers or {}), params=query or {}
        ) as response,
    ):
        yield response


async def lines(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """Read so many lines of JSON."""
    async with asyncio.timeout(PATIENCE):
        return [json.loads(await response.content.readline()) for _ in range(count)]


async def sse_events(response: aiohttp.ClientResponse, count: int) -> list[dict[str, str]]:
    """Read so many Server-Sent Events, comments and the retry left out."""
    found: list[dict[str, str]] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            block = (await response.content.readuntil(b"\n\n")).decode()
            fields = dict(line.split(": ", 1) for line in block.strip().splitlines() if not line.startswith(":"))
            if "data" in fields:
                found.append(fields)
    return found


async def past(site: Running, path: str, **query: str) -> list[str]:
    """Return the names of the events of an export, which ends by itself."""
    async with reply(site, path, query=query) as response, asyncio.timeout(PATIENCE):
        text = await response.text()
    return [json.loads(line)["event"] for line in text.splitlines()]


async def test_a_plain_get_gets_one_json_object_a_line(site: Running) -> None:
    """`curl -N` shows events as they come; proxies are told not to wait for more."""
    collection = await site.collection()
    async with reply(site, activity(collection)) as response:
        await site.joined(1)
        site.receive(await site.device(collection))
        events = await lines(response, 3)

    assert [each["event"] for each in events] == ["deviceCreated", "clientConnected", "upstreamMessage"]
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert (response.headers["X-Accel-Buffering"], response.headers["Cache-Control"]) == (
        "no",
        "no-cache, no-transform",
    )
    assert response.headers["Content-Encoding"] == "gzip", "the client asks for it"
    await until(lambda: site.server.subscribers.streams.ended == {"client": 1})


async def test_server_sent_events_have_an_id_a_name_and_the_same_json(site: Running) -> None:
    """The id is the event's ULID."""
    collection = await site.collection()
    async with reply(site, activity(collection), headers=SSE) as response:
        await site.joined(1)
        site.receive(await site.device(collection))
        events = await sse_events(response, 3)

    published = site.server.history.tail(EVERYTHING, PASS_ALL, 3).activities
    assert response.headers["Content-Type"] == "text/event-stream"
    assert [each["event"] for each in events] == ["deviceCreated", "clientConnected", "upstreamMessage"]
    assert [each["id"] for each in events] == [to_ulid(each.id) for each in published]
    assert [json.loads(each["data"])["event"] for each in events] == [each["event"] for each in events]


@pytest.mark.parametrize("headers", [{}, SSE], ids=["lines", "sse"])
async def test_the_events_of_a_tick_are_one_chunk(site: Running, headers: dict[str, str]) -> None:
    """One chunk and one write for each subscriber, however many events."""
    collection = await site.collection()
    async with reply(site, activity(collection), headers=headers) as response:
        await site.joined(1)
        if headers:
            await response.content.readchunk()  # retry
        device = await site.device(collection)
        await response.content.readchunk()
        site.receive(device)
        async with asyncio.timeout(PATIENCE):
            found, is_whole = await response.content.readchunk()

    assert is_whole
    assert (found.count(b'"clientConnected"'), found.count(b'"upstreamMessage"')) == (1, 1)


async def test_a_browser_that_connects_again_misses_and_repeats_nothing(site: Running) -> None:
    """It sends the id of its last event, and the URL of its first request."""
    collection = await site.collection()
    device = await site.device(collection)
    first = SSE | {"Last-Event-ID": ""}  # some clients always send the header
    async with reply(site, activity(collection), headers=first, query={"tail": "1"}) as response:
        (last, _) = await sse_events(response, 2)
    site.receive(device)
    resumed = SSE | {"Last-Event-ID": last["id"]}
    async with reply(site, activity(collection), headers=resumed, query={"tail": "1"}) as response:
        site.receive(device, b"live")
        events = await sse_events(response, 4)

    assert [each["event"] for each in events] == ["clientConnected", "upstreamMessage", "live", "upstreamMessage"]


async def test_a_browser_that_was_away_too_long_is_told_of_the_gap(site: Running) -> None:
    """The gap has the id of the last missing event: a client that resumes there gets the rest."""
    collection = await site.collection()
    device = await site.device(collection)
    first = site.server.history.tail(EVERYTHING, PASS_ALL, 1).activities[0].id
    for _ in range(10):
        site.receive(device)
    async with reply(site, activity(collection), headers=SSE | {"Last-Event-ID": to_ulid(first)}) as response:
        (gap, oldest) = await sse_events(response, 2)

    assert (gap["event"], json.loads(gap["data"])["data"]["reason"]) == ("eventsDropped", "historyGap")
    assert first < from_ulid(gap["id"]) < from_ulid(oldest["id"])


async def test_a_silent_stream_of_server_sent_events_gets_comments(site: Running) -> None:
    """A proxy closes a connection that is silent for a minute."""
    async with reply(site, "/span/activity", headers=SSE) as response:
        await site.joined(1)
        site.clock.shift(16)
        site.server.hub.sweep()
        async with asyncio.timeout(PATIENCE):
            blocks = [await response.content.readuntil(b"\n\n") for _ in range(2)]

    assert blocks == [b"retry: 2000\n\n", b": keepalive\n\n"]


async def test_follow_0_ends_where_the_present_begins(site: Running) -> None:
    """All of the past unless the request names a begin."""
    collection = await site.collection()
    device = await site.device(collection)
    site.receive(device)
    whole = ["deviceCreated", "clientConnected", "upstreamMessage"]
    path = activity(collection)
    second = render(site.server.history.tail(EVERYTHING, PASS_ALL, 2).activities[0].id)

    assert await past(site, path, follow="0") == whole
    assert await past(site, path, follow="0", tail="1") == whole[2:]
    assert await past(site, path, follow="0", after=second) == whole[2:]
    assert await past(site, path, until=second) == whole[:2]
    assert await past(site, path, limit="1") == whole[:1]
    assert site.server.hub.subscribers == 0


async def test_a_reply_tells_pools_of_clients_that_its_connection_ends_with_it(site: Running) -> None:
    """A POST over a connection that the server is about to close fails, and no client sends it again by itself."""
    async with reply(site, "/span/activity", query={"follow": "0"}) as export, reply(site, "/span/activity") as live:
        assert [each.headers["Connection"] for each in (export, live)] == ["close", "close"]


async def test_a_websocket_ends_with_the_past_too(site: Running) -> None:
    """With an ordinary close."""
    collection = await site.collection()
    await site.device(collection)
    async with site.stream(f"{activity(collection)}?follow=0") as stream:
        received = [json.loads(each)["event"] async for each in stream]

    assert received == ["deviceCreated"]
    assert stream.close_code == 1000


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "-1"}, "limit"),
        ({"until": "yesterday"}, "until"),
        ({"follow": "maybe"}, "follow"),
        ({"follow": "1", "limit": "3"}, "follow"),
    ],
)
async def test_a_bad_parameter_is_named_before_the_first_octet(
    site: Running, query: dict[str, str], field: str
) -> None:
    """With 400 and a problem body, in each form."""
    for headers in ({}, SSE):
        async with reply(site, "/span/activity", headers=headers, query=query) as response:
            problem = await response.json(content_type="application/problem+json")

        assert (response.status, problem["field"]) == (400, field)


async def test_messages_stream_as_lines_and_as_server_sent_events(site: Running) -> None:
    """The same JSON as on the WebSocket."""
    collection = await site.collection()
    device = await site.device(collection)
    path = activity(collection, "/from")
    async with reply(site, path) as plain, reply(site, path, headers=SSE) as sse:
        await site.joined(2)
        site.receive(device)
        (line,) = await lines(plain, 1)
        (event,) = await sse_events(sse, 1)

    assert line == json.loads(event["data"])
    assert line["device"]["deviceId"] == render(device.id)


async def test_the_deletion_of_a_token_ends_its_replies(site: Running) -> None:
    """Server-Sent Events say why; the body is complete in both forms."""
    record, text = await site.server.tokens.create(resource="/", write=False)
    token = {"X-API-Token": text}
    async with (
        reply(site, "/span/activity", headers=token) as plain,
        reply(site, "/span/activity", headers=SSE | token) as sse,
    ):
        await site.joined(2)
        site.server.subscribers.streams.revoke([record])
        async with asyncio.timeout(PATIENCE):
            bodies = [await plain.read(), await sse.read()]

    assert bodies == [b"", b'retry: 2000\n\nevent: end\ndata: {"reason":"the token was revoked"}\n\n']
    assert site.server.subscribers.streams.ended == {"server": 2}


async def test_the_shutdown_of_the_server_ends_replies(tmp_path: Path) -> None:
    async with running(tmp_path) as site, aiohttp.ClientSession() as session:
        response = await session.get(f"http://{site.http}/span/activity", headers={"X-API-Token": site.token})
        await site.joined(1)
        await site.server.subscribers.streams.close()
        async with asyncio.timeout(PATIENCE):
            body = await response.read()

    assert body == b""


async def test_pages_of_allowed_origins_may_read_a_reply(site: Running) -> None:
    """EventSource and fetch need the header; without it the browser keeps the events from the page."""
    async with reply(site, "/span/activity", headers=SSE | {"Origin": "http://localhost:3000"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert response.headers.getall("Vary") == ["Accept, Accept-Encoding", "Origin"]
    async with reply(site, "/span/activity", headers=SSE | {"Origin": "https://evil.example"}) as response:
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_client_of_http_1_0_gets_the_body_without_chunks(site: Running) -> None:
    collection = await site.collection()
    await site.device(collection)
    host, _, port = site.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"GET {activity(collection)}?follow=0 HTTP/1.0\r\nX-API-Token: {site.token}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()

    body = answer.partition(b"\r\n\r\n")[2]
    assert json.loads(body)["event"] == "deviceCreated"


async def test_a_client_that_does_not_read_the_past_is_cut(tmp_path: Path) -> None:
    """It is no subscriber whose backlog the hub would watch."""
    fanout: dict[str, Any] = {"send_buffer": 4096, "stalled_after": 0.2}
    async with running(tmp_path, events={"history_per_collection": 3000}, fanout=fanout) as site:
        collection = await site.collection()
        device = await site.device(collection)
        for _ in range(2500):
            site.receive(device)
        client = stalled_client(site, f"{activity(collection)}?follow=0")
        await until(lambda: site.server.web.accepted == 1 and not connections(site))
        client.close()


async def test_octets_after_the_request_end_a_reply(site: Running) -> None:
    """A stream expects none, and must not read a client's flood."""
    host, _, port = site.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /span/activity HTTP/1.1\r\nHost: x\r\nX-API-Token: {site.token}\r\n\r\n".encode())
    await site.joined(1)
    writer.write(b"x" * 10_000)
    await until(lambda: site.server.hub.subscribers == 0)
    writer.close()
    del reader


async def test_the_last_of_many_clients_that_come_at_once_is_answered(tmp_path: Path) -> None:
    """More than http.connections are accepted in one turn of the loop: the first of them make room."""
    async with running(tmp_path, http={"connections": 3}) as site:
        host, _, port = site.http.rpartition(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(20)]
        last = socket.create_connection((host, int(port)))
        last.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        reader, writer = await asyncio.open_connection(sock=last)
        async with asyncio.timeout(PATIENCE):
            reply = await reader.read()
        writer.close()
        for each in silent:
            each.close()

    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
