"""The past of a stream of messages: ``tail``, ``after``, ``until``, ``limit``, ``follow`` and ``Last-Event-ID``."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from span_events.ids import from_ulid, parse, render, to_ulid
from span_events.registry.model import Collection, Device
from tests.bench.servers import Running, activity, running
from tests.bench.waiting import PATIENCE

SSE = {"Accept": "text/event-stream"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server whose inboxes hold four messages."""
    async with running(tmp_path, messages={"inbox_per_collection": 4}) as opened:
        yield opened


async def scene(site: Running, count: int) -> tuple[Collection, Device, list[int]]:
    """Make a device of a collection that has sent some messages."""
    collection = await site.collection()
    device = await site.device(collection)
    found = [site.receive(device, b"%d" % number) for number in range(count)]
    return collection, device, [each for each in found if each is not None]


async def export(site: Running, path: str, headers: dict[str, str] | None = None, **query: str) -> str:
    """Return a reply that ends by itself."""
    async with (
        aiohttp.ClientSession(headers={"X-API-Token": site.token}) as session,
        session.get(f"http://{site.http}{path}", params=query, headers=headers) as reply,
        asyncio.timeout(PATIENCE),
    ):
        assert reply.status == 200, await reply.text()
        return await reply.text()


def shown(text: str) -> list[str]:
    """Return payloads, or the ids of gaps, of lines of JSON."""
    return [_shown(json.loads(line)) for line in text.splitlines()]


def _shown(document: dict[str, Any]) -> str:
    if document["type"] == "unknown":
        return f"{document['data']['reason']} {document['data']['lastId']}"
    return b64decode(document["payload"]).decode()


async def test_an_export_of_messages_ends_where_the_present_begins(site: Running) -> None:
    """The same parameters as on the activity stream."""
    collection, device, ids = await scene(site, 4)
    other = await site.device(collection)
    path = activity(collection, "/from")

    assert shown(await export(site, path, follow="0")) == ["0", "1", "2", "3"]
    assert shown(await export(site, path, follow="0", tail="2")) == ["2", "3"]
    assert shown(await export(site, path, follow="0", after=render(ids[1]))) == ["2", "3"]
    assert shown(await export(site, path, until=to_ulid(ids[2]), tail="2")) == ["1", "2"]
    assert shown(await export(site, path, limit="1")) == ["0"]
    assert shown(await export(site, path, follow="0", after="2030-01-01T00:00:00Z")) == []
    for each, count in ((device, 4), (other, 0)):
        mine = activity(collection, f"/devices/{render(each.id)}/from")
        assert len(shown(await export(site, mine, follow="0"))) == count


async def test_a_browser_that_connects_again_gets_each_message_once(site: Running) -> None:
    """It sends the id of its last message; then the mark, and the present."""
    collection, device, ids = await scene(site, 3)
    resumed = SSE | {"Last-Event-ID": to_ulid(ids[0]), "X-API-Token": site.token}
    async with (
        aiohttp.ClientSession(headers=resumed) as session,
        session.get(f"http://{site.http}{activity(collection, '/from')}") as reply,
        asyncio.timeout(PATIENCE),
    ):
        blocks = [(await reply.content.readuntil(b"\n\n")).decode() for _ in range(4)]
        site.receive(device, b"live")
        blocks.append((await reply.content.readuntil(b"\n\n")).decode())
    sent = [dict(line.split(": ", 1) for line in each.strip().splitlines()) for each in blocks[1:]]

    assert [from_ulid(each["id"]) for each in sent[:2]] == ids[1:]
    assert sent[2]["event"] == "live"
    assert [_shown(json.loads(each["data"])) for each in sent if "id" in each] == ["1", "2", "live"]


async def test_a_websocket_of_messages_begins_with_the_past(site: Running) -> None:
    collection, device, _ = await scene(site, 2)
    async with site.stream(f"{activity(collection, '/from')}?tail=1") as stream, asyncio.timeout(PATIENCE):
        await site.joined(1)
        site.receive(device, b"live")

        assert [_shown(json.loads(await stream.recv())) for _ in range(2)] == ["1", "live"]


async def test_missing_messages_are_told_to_those_who_ask_for_the_past(site: Running) -> None:
    """With the last that is missing; ``type`` is Span's word for an object that is no message."""
    collection, _, ids = await scene(site, 6)
    path = activity(collection, "/from")
    gap = f"historyGap {render(ids[1])}"
    sse = await export(site, path, SSE, follow="0", after=render(ids[0]))

    assert shown(await export(site, path, follow="0", after=render(ids[0]))) == [gap, "2", "3", "4", "5"]
    assert shown(await export(site, path, follow="0", after=render(ids[1]))) == ["2", "3", "4", "5"]
    assert shown(await export(site, path, follow="0", after="2000-01-01T00:00:00Z"))[0].startswith("historyGap ")
    assert f"id: {to_ulid(ids[1])}\nevent: eventsDropped\n" in sse


async def test_a_replay_of_large_messages_is_bounded(tmp_path: Path) -> None:
    """The newest of them fit, and the gap before them is told: all of a replay waits for its reader."""
    size = {"max_payload": 1 << 20, "inbox_per_collection": 100}
    async with running(tmp_path, messages=size) as site:
        collection = await site.collection()
        device = await site.device(collection)
        for _ in range(8):
            site.receive(device, b"x" * (1 << 20))
        lines = (await export(site, activity(collection, "/from"), follow="0", after="1")).splitlines()
        gap, first = json.loads(lines[0]), json.loads(lines[1])

    assert len(lines) == 4
    assert gap["data"]["reason"] == "historyGap"
    assert parse(gap["data"]["lastId"]) < parse(first["messageId"])


@pytest.mark.parametrize(
    "query", ["tail=-1", "after=yesterday", "tail=1&after=1", "limit=x", "follow=1&limit=1", "event=x"]
)
async def test_a_bad_parameter_of_a_stream_of_messages_is_named(site: Running, query: str) -> None:
    collection = await site.collection()
    async with (
        aiohttp.ClientSession(headers={"X-API-Token": site.token}) as session,
        session.get(f"http://{site.http}{activity(collection, '/from')}?{query}") as reply,
    ):
        assert reply.status == 400
        assert (await reply.json(content_type=None))["field"] in query
