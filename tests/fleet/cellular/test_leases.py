"""Which address somebody gets when they attach."""

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


def test_a_pool_gives_an_address_of_each_family(bench: Bench) -> None:
    """Each device another one."""
    leases = [bench.reserve(bench.subscriber(number)) for number in (1, 2)]

    assert leases == [("10.0.0.1", "2001:db8:1::/64"), ("10.0.0.2", "2001:db8:1:1::/64")]


def test_asking_again_gives_the_same(bench: Bench) -> None:
    """A NAS asks again when the answer was lost."""
    one, other = bench.subscriber(1), bench.subscriber(2)
    first = bench.reserve(one)
    bench.reserve(other)

    assert bench.reserve(one, 50.0) == first


def test_without_a_pool_the_mobile_core_chooses() -> None:
    """Only a device's own address is given then."""
    bench = Bench(pool=())

    assert bench.reserve(bench.subscriber(1)) == ("", "")
    assert bench.reserve(bench.subscriber(2, static_ip="192.0.2.7")) == ("192.0.2.7", "")


def test_the_own_address_of_a_device_is_for_nobody_else(bench: Bench) -> None:
    """Neither while it is away nor when somebody had it last; of IPv6 it is the prefix around it."""
    own = bench.subscriber(1, static_ip="10.0.0.1")
    own_6 = bench.subscriber(2, static_ip="2001:db8:1::5")
    other = bench.subscriber(3, last_ip="10.0.0.1")

    assert bench.reserve(other) == ("10.0.0.2", "2001:db8:1:1::/64")
    assert bench.reserve(own) == ("10.0.0.1", "2001:db8:1:2::/64")
    assert bench.reserve(own_6) == ("10.0.0.3", "2001:db8:1::/64")


def test_a_device_gets_back_what_it_had(bench: Bench) -> None:
    """While it is attached, and later, if it is free."""
    one, other = bench.subscriber(1), bench.subscriber(2, last_ip="10.0.0.6")
    lease = bench.reserve(one)
    bench.attach(one, lease)

    assert bench.reserve(one) == lease
    assert bench.reserve(other).address == "10.0.0.6"


def test_over_another_apn_a_device_gets_another_address(bench: Bench) -> None:
    """It may be attached to both."""
    one = bench.subscriber(1)
    first = bench.reserve(one)
    bench.attach(one, first)
    second = bench.reserve(Subscriber.of(one.device, apn="other"))

    assert set(first).isdisjoint(second)


def test_a_reservation_of_which_nobody_makes_use_lapses() -> None:
    """After a while the address is for others."""
    bench = Bench(pool=("10.0.0.1/32",), reservation=120.0)
    one, other = bench.subscriber(1), bench.subscriber(2)
    bench.reserve(one)
    bench.allocation.sweep(119.0)
    refused = bench.allocation.reserve(other, 119.0)
    bench.allocation.sweep(120.0)

    assert refused is None
    assert bench.reserve(other, 120.0).address == "10.0.0.1"


@pytest.mark.parametrize("uses_it", [True, False], ids=["in use", "reserved"])
def test_what_another_one_has_is_not_given_though_a_device_had_it_last(bench: Bench, uses_it: bool) -> None:
    """It came back too late."""
    owner = bench.subscriber(1)
    lease = bench.reserve(owner)
    if uses_it:
        bench.attach(owner, lease)

    assert bench.reserve(bench.subscriber(2, last_ip=lease.address)).address == "10.0.0.2"


def test_what_is_in_use_is_for_nobody_else_also_when_its_reservation_is_over(bench: Bench) -> None:
    """An attachment keeps it."""
    one = bench.subscriber(1)
    bench.attach(one, bench.reserve(one))
    bench.allocation.sweep(1_000.0)

    assert bench.reserve(bench.subscriber(2), 1_000.0).address == "10.0.0.2"


def test_an_address_that_the_mobile_core_did_not_use_is_free_again() -> None:
    """It may give another one than we told it."""
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
def test_one_kind_of_address_is_enough_for_who_takes_either(asked: dict[str, bool], lease: Lease | None) -> None:
    """The mobile core attaches with what there is; who wants IPv4 only is refused when that is used up."""
    bench = Bench(pool=("10.0.0.1/32", "2001:db8:1::/63"))
    bench.reserve(bench.subscriber(1))

    assert bench.allocation.reserve(bench.subscriber(2), 0.0, **asked) == lease


def test_an_address_of_its_own_is_enough_when_the_pool_of_the_other_kind_is_used_up() -> None:
    """It has what it needs."""
    bench = Bench(pool=("10.0.0.0/29", "2001:db8:1::/64"))
    bench.reserve(bench.subscriber(1))

    assert bench.reserve(bench.subscriber(2, static_ip="192.0.2.7")) == Lease("192.0.2.7")


@pytest.mark.parametrize(("asked", "lease"), [("ipv4", Lease("10.0.0.1")), ("ipv6", Lease(prefix="2001:db8:1::/64"))])
def test_who_wants_one_kind_of_address_uses_up_no_other(asked: str, lease: Lease) -> None:
    """Most devices never want IPv6."""
    bench = Bench()
    other = {"ipv4": "ipv6", "ipv6": "ipv4"}[asked]

    assert bench.allocation.reserve(bench.subscriber(1), 0.0, **{other: False}) == lease


def test_reservations_are_bounded() -> None:
    """The one that was asked for longest ago makes room."""
    bench = Bench(sessions=2)
    subscribers = [bench.subscriber(number) for number in range(3)]
    for now, each in enumerate(subscribers):
        bench.reserve(each, float(now))
    (gauge, *_) = bench.allocation.metrics()

    assert gauge.value() == 2
    assert bench.allocation.withdraw(subscribers[0]) is None
    assert bench.allocation.withdraw(subscribers[2]) is not None


def test_whoever_is_no_device_of_ours_is_known_by_numbers(bench: Bench) -> None:
    """So a second request gives the same."""
    stranger = Subscriber.of(None, "24201", "35", "apn")

    assert bench.reserve(stranger) == bench.reserve(Subscriber.of(None, "24201", "35", "apn"))
    assert bench.reserve(Subscriber.of(None, "24202", "35", "apn")).address == "10.0.0.2"
