"""Two servers on one account of NATS: neither shows anything of the other, and both tell their operators."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from span_events.bus import wire
from span_events.bus.senders import Senders
from span_events.events.filters import EVERYTHING, PASS_ALL
from tests.bench.peers.nats import NatsServer
from tests.bench.waiting import until
from tests.bus.nodes import COLLECTION, Shifted, alarm, message, node, numbered

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_events_of_another_server_are_not_shown(archive: NatsServer) -> None:
    """Neither live nor as the past, nor its messages; the operator is told for a minute after the last of them."""
    clock = Shifted()
    async with (
        node(archive.url, 1, server="other") as foreign,
        node(archive.url, 2) as here,
        node(archive.url, 3, clock=clock) as there,
    ):
        foreign.bus.publish(alarm())
        foreign.bus.publish(numbered(1))
        with capture_logs() as lines:
            await there.follow(None)
            await there.follow(None, messages=True)
            foreign.bus.publish(numbered(2))
            foreign.bus.forward(message(foreign.bus.new_id()))
            await until(lambda: there.metric("bus_skipped")["foreign"] >= 4)
            here.bus.publish(numbered(3))
            await until(lambda: bool(there.values))
        health = there.bus.health()
        clock.ahead += 61
        later = there.bus.health()
        past = there.history.after(EVERYTHING, PASS_ALL, 0).activities
    warnings = [each for each in lines if each["event"] == "bus_shared_with_another_server"]

    assert there.values == [3]
    assert there.messages == []
    assert [each.event.origin.collection_id for each in past] == [COLLECTION]
    assert health == "degraded: another span-events server uses this account of NATS; each needs its own"
    assert later == "ok"
    assert len(warnings) == 1
    assert "account" in warnings[0]["hint"]


async def test_the_history_of_a_server_that_has_left_the_account_is_no_fault() -> None:
    """Its events stay in NATS for hours; they are skipped and counted."""
    senders = Senders("one", Shifted())
    data = wire.pack(b"other.process", [b"a", b"b"])
    skipped = senders.unpack(data, is_past=True)
    past = senders.fault
    senders.unpack(data)

    assert skipped == (False, [])
    assert past == ""
    assert "another span-events server" in senders.fault
    assert senders.foreign == 4


async def test_a_history_that_is_missing_hides_behind_no_other_server(nats: NatsServer) -> None:
    """Without a history, subscribers miss events; another server only costs room in it."""
    async with node(nats.url, 1, server="other") as foreign, node(nats.url, 2) as here:
        await here.follow(COLLECTION)
        foreign.bus.publish(numbered(1))
        await until(lambda: here.metric("bus_skipped")["foreign"] > 0)
        health = here.bus.health()

    assert health.startswith("degraded: NATS keeps no history (")
