"""Streams as first-time users and browsers open them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.events.message import Transport
from span_events.ids import render
from tests.bench.servers import Running, activity, events, running
from tests.cli.bench import COLLECTION, TOKEN, run
from tests.cli.scripted import Play, Scripted, event
from tests.web.conftest import web_bench


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with a short history."""
    async with running(tmp_path, events={"history_per_collection": 5}) as opened:
        yield opened


def from_stranger(site: Running) -> None:
    """Receive a datagram from an address of no device."""
    site.server.fleet.reception.identify(("10.6.6.6", 1), transport=Transport.UDP, size=3)


async def test_clients_09_a_token_for_everything_sees_unattributed_events_beside_a_collection(site: Running) -> None:
    """Live and from history; not the events of other collections."""
    mine, other = await site.collection(), await site.collection()
    path = activity(mine) + "?unattributed=1"
    async with site.stream(path) as stream:
        await site.joined(1)
        await site.device(other)
        from_stranger(site)
        await site.device(mine)
        live = await events(stream, 2)
    async with site.stream(f"{path}&tail=10") as stream:
        past = await events(stream, 2)

    assert [(each["event"], each.get("collectionId")) for each in live] == [
        ("messageRejected", None),
        ("deviceCreated", render(mine.id)),
    ]
    assert past == live


async def test_clients_09_a_token_of_the_collection_does_not_see_unattributed_events(site: Running) -> None:
    """The parameter asks for what the token reaches; other streams of the collection are as before."""
    mine = await site.collection()
    _, narrow = await site.server.tokens.create(resource=f"/collections/{render(mine.id)}", write=False)
    async with (
        site.stream(activity(mine) + "?unattributed=1", token=narrow) as narrowed,
        site.stream(activity(mine)) as plain,
    ):
        await site.joined(2)
        from_stranger(site)
        await site.device(mine)

        for stream in (narrowed, plain):
            assert [each["event"] for each in await events(stream, 1)] == ["deviceCreated"]


async def test_clients_09_tail_shows_unattributed_events_dimmed_and_says_nothing_about_them() -> None:
    """With SPAN_COLLECTION_ID, as the README exports it."""
    frames = [event("messageRejected", number=1, collectionId="", deviceId=""), event(number=2)]
    async with Scripted([Play(frames, code=1008)]) as server:
        result = await run(
            *("--endpoint", server.url, "--token", TOKEN, "tail"),
            env={"SPAN_COLLECTION_ID": COLLECTION, "FORCE_COLOR": "1", "TZ": "UTC"},
        )

    assert ("unattributed", "1") in server.requests[0][1]
    stranger, own = [each for each in result.stdout.splitlines() if "11:00:00" in each]
    assert re.fullmatch(r"\x1b\[2m[^\x1b]*messageRejected[^\x1b]*\x1b\[0m", stranger)
    assert not re.fullmatch(r"\x1b\[2m[^\x1b]*\x1b\[0m", own)
    assert "unknown addresses" not in result.stderr


async def test_clients_12_the_page_opens_its_stream_with_tls_behind_a_proxy_with_tls(tmp_path: Path) -> None:
    """The scheme follows that of the page: https becomes wss."""
    async with web_bench(tmp_path) as api:
        page = (await api.call("GET", "/", token=None)).body

    assert "ws://" not in page
    assert 'location.origin.replace("http", "ws")' in page
