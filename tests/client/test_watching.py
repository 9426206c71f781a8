"""The client for scripts: typed events, resumption, and the events that a test expects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from span_events.client import Event, NotSeen, expect, watch
from span_events.errors import InvalidRequest, Unauthenticated
from span_events.events.message import Transport
from span_events.ids import render
from span_events.registry.model import Collection, Device
from tests.bench.servers import Running, running
from tests.bench.waiting import PATIENCE


class Rig:
    """A server, a device, and the arguments of its client."""

    def __init__(self, site: Running, collection: Collection, device: Device) -> None:
        self.site = site
        self.device = device
        self.where: dict[str, Any] = {
            "endpoint": f"http://{site.http}",
            "token": site.token,
            "collection": render(collection.id),
        }

    def send(self) -> None:
        """Let a message of the device come in."""
        self.site.receive(self.device)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A server with a short history and one device with a name."""
    async with running(tmp_path, events={"history_per_collection": 4}) as site:
        collection = await site.collection()
        device = await site.device(collection)
        device.tags["name"] = "pump"
        yield Rig(site, collection, device)


async def first(count: int, rig: Rig, **options: Any) -> list[Event]:
    """Return the first events of a watch."""
    found: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        async for event in watch(on_live=rig.send, **rig.where, **options):
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_events_are_typed(rig: Rig) -> None:
    connected, message = await first(2, rig)

    assert (connected.name, message.name) == ("clientConnected", "upstreamMessage")
    assert connected.device_id == message.device_id == render(rig.device.id)
    assert message.session_id == connected.session_id != ""
    assert (message.data["bytes"], message.severity, message.reason) == ("5", "info", "")
    assert message.time.utcoffset() is not None
    assert message.document["deviceName"] == "pump"
    assert message.hint


async def test_a_wrong_token_is_an_error_at_once(rig: Rig) -> None:
    with pytest.raises(Unauthenticated):
        await expect("clientConnected", **rig.where | {"token": "0" * 64})


async def test_expected_events_are_returned_in_order(rig: Rig) -> None:
    """Others may come between them."""
    found = await expect("clientConnected", "upstreamMessage", began=rig.send, within=PATIENCE, **rig.where)

    assert [each.name for each in found] == ["clientConnected", "upstreamMessage"]


async def test_a_missing_event_names_those_that_came_instead_with_their_hints(rig: Rig) -> None:
    """A firmware developer sees the cause in the failure of the test."""
    rig.site.receive(rig.device, b"x" * 100_000)
    with pytest.raises(NotSeen) as caught:
        await expect("upstreamMessage", last=1, within=0.01, **rig.where)

    assert caught.value.missing == "upstreamMessage"
    assert [each.reason for each in caught.value.came] == ["tooLarge"]
    assert "upstreamMessage did not come within 0.01 s" in str(caught.value)
    assert caught.value.came[0].hint in str(caught.value)


async def test_an_event_that_must_not_come_fails_at_once(rig: Rig) -> None:
    with pytest.raises(NotSeen, match="upstreamMessage came, which must not"):
        await expect("clientDisconnected", never=["upstreamMessage"], began=rig.send, within=PATIENCE, **rig.where)


@pytest.mark.parametrize(
    ("names", "never", "fault"),
    [
        (("upstreamMesage",), (), "there is no event 'upstreamMesage'"),
        (("upstreamMessage",), "clientRejectd", "there is no event 'clientRejectd'"),
        (("upstreamMessage",), ("!clientRejected",), "'!clientRejected' is not the name of one event"),
    ],
)
async def test_a_name_that_no_event_has_is_an_error_at_once(names: tuple[str, ...], never: Any, fault: str) -> None:
    """A test that forbids a misspelt event would always pass."""
    with pytest.raises(InvalidRequest, match=fault):
        await expect(*names, never=never, endpoint="http://127.0.0.1:1")


async def test_the_reason_of_the_last_event_counts(rig: Rig) -> None:
    """Another reason of the same event is passed over."""

    def send() -> None:
        rig.site.server.fleet.reception.identify(("10.9.9.9", 1), transport=Transport.UDP, size=3)
        rig.site.receive(rig.device, b"x" * 100_000)

    (event,) = await expect(
        "messageRejected", reason="tooLarge", began=send, within=PATIENCE, **rig.where | {"collection": ""}
    )

    assert event.reason == "tooLarge"
