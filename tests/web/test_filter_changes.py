"""A WebSocket's client changes its filter without connecting again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from span_events.events.message import Transport
from span_events.ids import render
from tests.bench.servers import Running, activity, names, running


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server."""
    async with running(tmp_path) as opened:
        yield opened


async def test_the_new_filter_is_answered_and_holds_from_then_on(site: Running) -> None:
    """Other subscribers of the same stream keep theirs."""
    collection = await site.collection()
    device = await site.device(collection)
    async with site.stream(activity(collection)) as changing, site.stream(activity(collection)) as other:
        await site.joined(2)
        site.receive(device)
        before = await names(changing, 2)
        await changing.send(json.dumps({"filter": {"event": ["!upstreamMessage"], "device": render(device.id)}}))
        answer = json.loads(await changing.recv())
        site.receive(device)
        await site.server.fleet.devices.remove(device, cause=7)
        after = await names(changing, 2)
        everything = await names(other, 5)

    assert before == ["clientConnected", "upstreamMessage"]
    assert answer == {"type": "filter", "filter": {"event": ["!upstreamMessage"], "device": [render(device.id)]}}
    assert after == ["clientDisconnected", "deviceRemoved"]
    assert everything == [*before, "upstreamMessage", *after]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"filter": []}, "filter"),
        ({"filter": {"event": "clientConected"}}, "event"),
        ({"filter": {"reason": "noSuch"}}, "reason"),
        ({"filter": {"colour": "red"}}, "filter"),
        ({"filter": {"event": [7]}}, "filter.event"),
        ({"filter": {"text": ""}}, "text"),
    ],
)
async def test_a_filter_that_is_not_valid_changes_nothing(site: Running, message: Any, field: str) -> None:
    """The answer names the fault, and the stream goes on."""
    collection = await site.collection()
    async with site.stream(activity(collection)) as stream:
        await site.joined(1)
        await stream.send(json.dumps(message))
        answer = json.loads(await stream.recv())
        await site.device(collection)

        assert answer["type"] == "error"
        assert answer["detail"]
        assert answer["field"] == field
        assert await names(stream, 1) == ["deviceCreated"]


@pytest.mark.parametrize("message", ["hello", "[]", "{}", '{"jwt": "x"}', "[" * 3000])
async def test_other_messages_are_ignored(site: Running, message: str) -> None:
    """Clients of Span may send what they like."""
    collection = await site.collection()
    async with site.stream(activity(collection)) as stream:
        await site.joined(1)
        await stream.send(message)
        await (await stream.ping())
        await site.device(collection)

        assert await names(stream, 1) == ["deviceCreated"]


async def test_reason_text_and_exclusion_are_query_parameters_too(site: Running) -> None:
    """Each is refused with 400 if it is not valid; they combine by and."""
    query = "reason=unknownAddress&text=10.9.9&event=!messageDuplicate"
    async with site.stream(f"/span/activity?{query}") as stream:
        await site.joined(1)
        for host in ("10.8.8.8", "10.9.9.9"):
            site.server.fleet.reception.identify((host, 1), transport=Transport.UDP, size=3)
        received = json.loads(await stream.recv())

    assert received["data"]["remoteAddress"] == "10.9.9.9:1"


async def test_half_a_surrogate_pair_is_answered_like_any_other_mistake(site: Running) -> None:
    """It is JSON by the letter, and no answer can repeat it."""
    collection = await site.collection()
    async with site.stream(activity(collection)) as stream:
        await stream.send('{"filter": {"text": "\\ud800"}}')
        answer = json.loads(await stream.recv())
        await site.device(collection)

        assert (answer["type"], await names(stream, 1)) == ("error", ["deviceCreated"])
