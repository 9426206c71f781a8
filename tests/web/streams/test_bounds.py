"""Bounds of streams: for each token and each address, whatever the form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from span_events.ids import render
from span_events.metrics import Metric
from tests.bench.servers import Running, activity, running, stalled_client
from tests.bench.waiting import PATIENCE, until

FORMS = {"lines": "*/*", "sse": "text/event-stream"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with three streams for an address and two for a token; clients come over a proxy at 127.0.0.1."""
    settings: dict[str, Any] = {"streams": {"per_token": 2, "per_address": 3}, "http": {"proxies": ["127.0.0.1"]}}
    async with running(tmp_path, **settings) as opened:
        yield opened


async def refused(site: Running, accept: str, token: str, address: str) -> tuple[int, dict[str, str]]:
    """Ask for a stream that is refused; return status and problem body."""
    headers = {"X-API-Token": token, "Accept": accept, "X-Forwarded-For": address}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{site.http}/span/activity", headers=headers) as reply,
    ):
        return reply.status, await reply.json(content_type="application/problem+json")


def fullest(site: Running) -> object:
    """Return the gauge of the token and of the address that have most streams."""
    (found,) = [each for each in site.server.metrics() if isinstance(each, Metric) and each.name == "streams_of_one"]
    return found.value()


async def test_a_token_has_so_many_streams_at_once(site: Running) -> None:
    """429 in each form, with the setting; a stream that ends leaves its place to the next one."""
    async with site.stream("/span/activity") as first, site.stream("/span/activity"):
        await site.joined(2)
        with pytest.raises(InvalidStatus) as caught:
            await site.stream("/span/activity")
        statuses = [await refused(site, accept, site.token, "192.0.2.1") for accept in FORMS.values()]

        assert caught.value.response.status_code == 429
        assert fullest(site) == {"token": 2, "address": 2}
        for status, problem in statuses:
            assert (status, problem["type"]) == (429, "urn:span-events:limit_reached")
            assert problem["detail"] == "There are 2 streams of this token, as many as streams.per_token allows"
        await first.close()
        await site.joined(1)
        async with site.stream("/span/activity"):
            await site.joined(2)


async def test_an_address_has_so_many_streams_whatever_its_tokens(site: Running) -> None:
    """Addresses of one IPv6 /64 are one client's; another client has places of its own."""
    texts = [(await site.server.tokens.create(resource="/", write=False))[1] for _ in range(4)]
    async with AsyncExitStack() as opened:
        for number, text in enumerate(texts[:3]):
            headers = {"X-Forwarded-For": f"2001:db8::{number}"}
            await opened.enter_async_context(site.stream("/span/activity", token=text, headers=headers))
        status, problem = await refused(site, FORMS["sse"], texts[3], "2001:db8::9")
        elsewhere = {"X-Forwarded-For": "2001:db8:0:1::9"}
        await opened.enter_async_context(site.stream("/span/activity", token=texts[3], headers=elsewhere))

        assert status == 429
        assert "streams of 2001:db8::/64, as many as streams.per_address allows" in problem["detail"]
        assert "http.proxies" in problem["hint"]


async def test_a_token_that_comes_as_first_message_is_bounded_too(site: Running) -> None:
    """1013, and the same sentence: the upgrade is over by then."""
    collection = await site.collection()
    message = json.dumps({"jwt": site.token, "collectionId": render(collection.id)})
    async with AsyncExitStack() as opened:
        for _ in range(2):
            await opened.enter_async_context(site.stream("/span/activity"))
        late = await opened.enter_async_context(site.stream(activity(collection), token=""))
        await late.send(message)
        with pytest.raises(ConnectionClosed):
            await late.recv()

        assert late.close_code == 1013
        assert "streams.per_token" in str(late.close_reason)


async def test_exports_that_nobody_reads_count_too(tmp_path: Path) -> None:
    fanout = {"send_buffer": 4096, "stalled_after": 60}
    history = {"history_per_collection": 3000}
    async with running(tmp_path, fanout=fanout, streams={"per_token": 2}, events=history) as site:
        collection = await site.collection()
        device = await site.device(collection)
        for _ in range(2500):
            site.receive(device)
        with ExitStack() as opened:
            for _ in range(2):
                opened.enter_context(stalled_client(site, f"{activity(collection)}?follow=0"))
            await until(lambda: fullest(site) == {"token": 2, "address": 2})
            status, _ = await refused(site, "*/*", site.token, "192.0.2.1")

        assert status == 429
        await until(lambda: fullest(site) == {"token": 0, "address": 0})


async def test_streams_of_the_things_stack_have_the_same_bound(site: Running) -> None:
    """In its own words: RESOURCE_EXHAUSTED."""
    body = {"identifiers": [{"application_ids": {"application_id": render((await site.collection()).id)}}]}
    headers = {"Authorization": f"Bearer {site.token}"}
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE), AsyncExitStack() as opened:
        for _ in range(2):
            await opened.enter_async_context(site.stream("/span/activity"))
        async with session.post(f"http://{site.http}/api/v3/events", headers=headers, json=body) as reply:
            assert reply.status == 429
            assert "streams.per_token" in await reply.text()
