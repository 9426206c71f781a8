"""Which events a subscription of The Things Stack's API contains."""

from __future__ import annotations

import pytest

from span_events.dialects.things_stack.wish import EntityFilter
from span_events.events.activity import Event, Origin, SpanId
from span_events.events.catalogue import (
    DeviceCreated,
    DeviceMoved,
    GatewayConfigUpdate,
    GatewayUpstreamMessage,
    UpstreamMessage,
)
from span_events.events.filters import Scope
from span_events.events.message import Transport
from tests.dialects.things_stack.samples import CAUSE

THROUGH = Origin(1, 2, 3)
SENT = UpstreamMessage(origin=THROUGH, bytes=1, transport=Transport.GATEWAY)
PASSED = GatewayUpstreamMessage(origin=THROUGH, bytes=1, message_id=SpanId(CAUSE))
CONFIGURED = GatewayConfigUpdate(origin=Origin(1, None, 3))
CREATED = DeviceCreated(origin=Origin(1, 2))
APPLICATION = EntityFilter(applications=frozenset({1}))
DEVICE = EntityFilter(devices=frozenset({(1, 2)}))
GATEWAY = EntityFilter(gateways=frozenset({(1, 3)}))


@pytest.mark.parametrize(
    ("wish", "event", "expected"),
    [
        (APPLICATION, CREATED, True),
        (APPLICATION, SENT, True),
        (APPLICATION, PASSED, True),
        (APPLICATION, CONFIGURED, False),
        (APPLICATION, DeviceCreated(origin=Origin(4, 2)), False),
        (APPLICATION, DeviceCreated(origin=Origin()), False),
        (DEVICE, SENT, True),
        (DEVICE, PASSED, True),
        (DEVICE, CONFIGURED, False),
        (DEVICE, DeviceCreated(origin=Origin(1, 5)), False),
        (GATEWAY, SENT, False),
        (GATEWAY, PASSED, True),
        (GATEWAY, CONFIGURED, True),
        (EntityFilter(applications=frozenset({1}), names=frozenset({"end_device.create"})), CREATED, True),
        (EntityFilter(applications=frozenset({1}), names=frozenset({"end_device.create"})), SENT, False),
        (EntityFilter(), CREATED, False),
    ],
)
def test_an_event_belongs_to_the_entities_that_it_names(wish: EntityFilter, event: Event, expected: bool) -> None:
    assert wish.matches(event) is expected


@pytest.mark.parametrize(
    ("wish", "copies"),
    [
        (EntityFilter(applications=frozenset({1})), [1]),
        (EntityFilter(applications=frozenset({4})), [4]),
        (EntityFilter(applications=frozenset({1, 4})), [4]),
        (EntityFilter(devices=frozenset({(1, 2), (4, 2)})), [4]),
        (EntityFilter(applications=frozenset({1}), devices=frozenset({(4, 2)})), [4]),
        (EntityFilter(applications=frozenset({1}), devices=frozenset({(4, 3)})), [1]),
    ],
)
def test_a_move_comes_once_to_who_has_both_collections(wish: EntityFilter, copies: list[int]) -> None:
    """It is published in each of them, and names the device in both."""
    moved = [DeviceMoved(origin=Origin(each, 2), from_collection=SpanId(1), to_collection=SpanId(4)) for each in (1, 4)]

    assert [each.origin.collection_id for each in moved if wish.matches(each)] == copies


def test_the_scopes_are_those_of_the_entities() -> None:
    wish = EntityFilter(frozenset({1}), frozenset({(1, 2)}), frozenset({(1, 3)}))

    assert wish.scopes == (Scope(1), Scope(1, device_id=2), Scope(1, gateway_id=3))
