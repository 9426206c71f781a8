"""Related events: all that one cause or session has, with the time between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from span_events.events.filters import EVERYTHING, PASS_ALL
from span_events.ids import render
from span_events.registry.model import Collection
from tests.bench.servers import Running, running


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server."""
    async with running(tmp_path) as opened:
        yield opened


async def related(site: Running, collection: Collection, identifier: str) -> tuple[int, dict[str, Any]]:
    """Ask for the related events."""
    url = f"http://{site.http}/span/collections/{render(collection.id)}/related"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, params={"id": identifier}, headers={"X-API-Token": site.token}) as response,
    ):
        return response.status, await response.json(content_type=None)


async def test_a_message_and_all_that_it_caused(site: Running) -> None:
    """By the id of the message, by that of an event, and by that of the session."""
    collection, other = await site.collection(), await site.collection()
    device = await site.device(collection)
    message = site.receive(device)
    site.clock.shift(2)
    site.receive(device)
    assert message is not None
    connected = site.server.history.tail(EVERYTHING, PASS_ALL, 3).activities[0]
    assert connected.event.session_id is not None
    by = [render(message), f"cause:{render(message)}", render(connected.id)]
    found = [(await related(site, collection, each))[1]["events"] for each in by]
    session = (await related(site, collection, f"session:{render(connected.event.session_id)}"))[1]["events"]

    assert [[each["event"] for each in events] for events in found] == [["clientConnected", "upstreamMessage"]] * 3
    assert [(each["event"], each["afterMs"]) for each in session] == [
        ("clientConnected", 0),
        ("upstreamMessage", 0),
        ("upstreamMessage", 2000),
    ]
    assert (await related(site, other, render(message)))[1] == {"events": []}


@pytest.mark.parametrize("identifier", ["", "not an id!"])
async def test_a_wrong_id_is_named(site: Running, identifier: str) -> None:
    status, problem = await related(site, await site.collection(), identifier)

    assert (status, problem["field"]) == (400, "id")
