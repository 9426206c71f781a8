"""The leases assigned to attach requests."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.config import CellularConfig
from span_events.fleet.cellular.attachment_index import AttachmentIndex
from span_events.fleet.cellular.leases import Allocation, Lease, Subscriber
from span_events.fleet.cellular.pending import PendingWrites
from span_events.registry.directory import Directory
from span_events.registry.model import Attachment, Collection, Device
from span_events.registry.store import Store
from tests.bench.clock import ManualClock


class Bench:
    """An allocation over a directory of devices."""

    def __init__(self, **settings: Any) -> None:
        self.directory = Directory()
        self.attachments = AttachmentIndex()
        self.collection = Collection(1)
        self.directory.add_collection(self.collection)
        config = CellularConfig(**{"pool": ("10.0.0.0/29", "2001:db8:1::/62")} | settings)
        self.allocation = Allocation(
            config,
            directory=self.directory,
            attachments=self.attachments,
            pending=PendingWrites(Store("sqlite+aiosqlite://"), limit=100),
            is_written=lambda _: True,
            clock=ManualClock(),
        )

    def subscriber(self, number: int, *, static_ip: str = "", last_ip: str = "", apn: str = "apn") -> Subscriber:
        """Make a device."""
        device = Device(number, self.collection)
        device.ciot.static_ip, device.ciot.last_ip = static_ip, last_ip
        self.directory.add(device)
        return Subscriber.of(device, apn=apn)

    def attach(self, subscriber: Subscriber, lease: Lease) -> None:
        """Let a subscriber make use of a lease."""
        number = len(self.attachments)
        one = Attachment(number, "n", "a", f"s{number}", subscriber.device, 0, apn=subscriber.apn)
        one.address, one.prefix = lease
        self.allocation.withdraw(subscriber, used=lease)
        self.attachments.add(one)

    def reserve(self, subscriber: Subscriber, now: float = 0.0) -> Lease:
        lease = self.allocation.reserve(subscriber, now)
        assert lease is not None
        return lease


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_pool_assigns_an_address_of_each_family(bench: Bench) -> None:
    """A different one to each device."""
    leases = [bench.reserve(bench.subscriber(number)) for number in (1, 2)]

    assert leases == [("10.0.0.1", "2001:db8:1::/64"), ("10.0.0.2", "2001:db8:1:1::/64")]


def test_a_repeated_request_gets_the_same_lease(bench: Bench) -> None:
    """A NAS sends the request again when the answer was lost."""
    one, other = bench.subscriber(1), bench.subscriber(2)
    first = bench.reserve(one)
    bench.reserve(other)

    assert bench.reserve(one, 50.0) == first


def test_without_a_pool_the_mobile_core_chooses() -> None:
    """Only a device's static address is assigned then."""
    bench = Bench(pool=())

    assert bench.reserve(bench.subscriber(1)) == ("", "")
    assert bench.reserve(bench.subscriber(2, static_ip="192.0.2.7")) == ("192.0.2.7", "")


def test_a_static_address_is_reserved_for_its_device(bench: Bench) -> None:
    """Also while detached, and after another one had it; of IPv6, the prefix around it."""
    own = bench.subscriber(1, static_ip="10.0.0.1")
    own_6 = bench.subscriber(2, static_ip="2001:db8:1::5")
    other = bench.subscriber(3, last_ip="10.0.0.1")

    assert bench.reserve(other) == ("10.0.0.2", "2001:db8:1:1::/64")
    assert bench.reserve(own) == ("10.0.0.1", "2001:db8:1:2::/64")
    assert bench.reserve(own_6) == ("10.0.0.3", "2001:db8:1::/64")


def test_a_device_gets_its_previous_lease(bench: Bench) -> None:
    """While attached, and later if the address is free."""
    one, other = bench.subscriber(1), bench.subscriber(2, last_ip="10.0.0.6")
    lease = bench.reserve(one)
    bench.attach(one, lease)

    assert bench.reserve(one) == lease
    assert bench.reserve(other).address == "10.0.0.6"


def test_over_another_apn_a_device_gets_another_address(bench: Bench) -> None:
    """A device may be attached over both."""
    one = bench.subscriber(1)
    first = bench.reserve(one)
    bench.attach(one, first)
    second = bench.reserve(Subscriber.of(one.device, apn="other"))

    assert set(first).isdisjoint(second)


def test_an_unused_reservation_lapses() -> None:
    """Then the address is available to others."""
    bench = Bench(pool=("10.0.0.1/32",), reservation=120.0)
    one, other = bench.subscriber(1), bench.subscriber(2)
    bench.reserve(one)
    bench.allocation.sweep(119.0)
    refused = bench.allocation.reserve(other, 119.0)
    bench.allocation.sweep(120.0)

    assert refused is None
    assert bench.reserve(other, 120.0).address == "10.0.0.1"


@pytest.mark.parametrize("uses_it", [True, False], ids=["in use", "reserved"])
def test_an_address_in_use_is_not_assigned_to_its_previous_owner(bench: Bench, uses_it: bool) -> None:
    """The device came back too late."""
    owner = bench.subscriber(1)
    lease = bench.reserve(owner)
    if uses_it:
        bench.attach(owner, lease)

    assert bench.reserve(bench.subscriber(2, last_ip=lease.address)).address == "10.0.0.2"


def test_an_address_in_use_stays_reserved_after_its_reservation_ends(bench: Bench) -> None:
    """The attachment keeps it."""
    one = bench.subscriber(1)
    bench.attach(one, bench.reserve(one))
    bench.allocation.sweep(1_000.0)

    assert bench.reserve(bench.subscriber(2), 1_000.0).address == "10.0.0.2"


def test_an_assigned_address_that_the_core_did_not_use_is_free_again() -> None:
    """The core may assign another address than the server's."""
    bench = Bench(pool=("10.0.0.1/32",))
    one, other = bench.subscriber(1), bench.subscriber(2)
    bench.reserve(one)
    bench.attach(one, Lease("192.0.2.1", ""))

    assert bench.reserve(other).address == "10.0.0.1"


@pytest.mark.parametrize(
    ("asked", "lease"),
    [
        ({}, Lease(prefix="2001:db8:1:1::/64")),
        ({"ipv6": False}, None),
        ({"ipv4": False}, Lease(prefix="2001:db8:1:1::/64")),
    ],
)
def test_one_address_family_is_enough_for_a_dual_stack_device(asked: dict[str, bool], lease: Lease | None) -> None:
    """The device attaches with it; an IPv4-only request is rejected when IPv4 is used up."""
    bench = Bench(pool=("10.0.0.1/32", "2001:db8:1::/63"))
    bench.reserve(bench.subscriber(1))

    assert bench.allocation.reserve(bench.subscriber(2), 0.0, **asked) == lease


def test_a_static_address_is_enough_when_the_pool_of_the_other_family_is_used_up() -> None:
    """The request is accepted with it."""
    bench = Bench(pool=("10.0.0.0/29", "2001:db8:1::/64"))
    bench.reserve(bench.subscriber(1))

    assert bench.reserve(bench.subscriber(2, static_ip="192.0.2.7")) == Lease("192.0.2.7")


@pytest.mark.parametrize(("asked", "lease"), [("ipv4", Lease("10.0.0.1")), ("ipv6", Lease(prefix="2001:db8:1::/64"))])
def test_a_request_for_one_address_family_uses_no_address_of_the_other(asked: str, lease: Lease) -> None:
    """Most devices never request IPv6."""
    bench = Bench()
    other = {"ipv4": "ipv6", "ipv6": "ipv4"}[asked]

    assert bench.allocation.reserve(bench.subscriber(1), 0.0, **{other: False}) == lease


def test_reservations_are_bounded() -> None:
    """The oldest is evicted."""
    bench = Bench(sessions=2)
    subscribers = [bench.subscriber(number) for number in range(3)]
    for now, each in enumerate(subscribers):
        bench.reserve(each, float(now))
    (gauge, *_) = bench.allocation.metrics()

    assert gauge.value() == 2
    assert bench.allocation.withdraw(subscribers[0]) is None
    assert bench.allocation.withdraw(subscribers[2]) is not None


def test_an_unknown_subscriber_is_identified_by_its_numbers(bench: Bench) -> None:
    """So a second request gets the same lease."""
    stranger = Subscriber.of(None, "24201", "35", "apn")

    assert bench.reserve(stranger) == bench.reserve(Subscriber.of(None, "24201", "35", "apn"))
    assert bench.reserve(Subscriber.of(None, "24202", "35", "apn")).address == "10.0.0.2"


def test_a_lease_that_another_node_released_ends_for_both_families(bench: Bench) -> None:
    """One notice names both addresses; a notice of an unchanged reservation changes nothing."""
    ended, kept = bench.subscriber(1), bench.subscriber(2)
    first, second = bench.reserve(ended), bench.reserve(kept)
    found = [each for each in bench.allocation._stored.values() if each.device_id == 2]
    bench.allocation.show(found, {*first, *second})

    assert all(first)
    assert bench.allocation.stored() == set(second)
    assert bench.allocation.holds(kept, second)
    assert not bench.allocation.holds(ended, first)
