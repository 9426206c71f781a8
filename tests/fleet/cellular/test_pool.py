"""The pool of addresses."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.fleet.cellular.pool import Pool


def take(
    pool: Pool, whose: Hashable = 1, now: float = 0.0, preferred: str = "", taken: Callable[[str], bool] | None = None
) -> str | None:
    """Take an address; none is taken by others unless given."""
    return pool.take(whose, now, preferred=preferred, is_taken=taken or (lambda _: False))


def test_addresses_are_assigned_in_order_until_none_is_left() -> None:
    """Without network and broadcast address, which routers treat as their own."""
    pool = Pool(["10.0.0.0/29", "10.9.0.0/31", "10.8.0.7/32"], version=4)

    assert pool.size == 9
    assert [take(pool, each) for each in range(10)] == [
        *(f"10.0.0.{last}" for last in range(1, 7)),
        *("10.8.0.7", "10.9.0.0", "10.9.0.1", None),
    ]


def test_a_device_gets_an_ipv6_prefix_of_64_bits() -> None:
    """Whatever the length of the pool's prefix."""
    pool = Pool(["2001:db8:1:fffe::/63", "10.0.0.0/24"], version=6)

    assert pool.size == 2
    assert [take(pool) for _ in range(3)] == ["2001:db8:1:fffe::/64", "2001:db8:1:ffff::/64", None]
    assert Pool(["2001:db8::/32"], version=6).size == 1 << 32


def test_overlapping_prefixes_assign_each_address_once() -> None:
    """Only the larger one counts."""
    pool = Pool(["10.0.0.0/30", "10.0.0.0/29", "10.0.0.0/30"], version=4)

    assert [take(pool) for _ in range(7)] == [*(f"10.0.0.{last}" for last in range(1, 7)), None]


def test_addresses_of_others_are_skipped() -> None:
    """Of the pool or static."""
    pool = Pool(["10.0.0.0/29"], version=4)

    assert [take(pool, taken={"10.0.0.1", "10.0.0.3"}.__contains__) for _ in range(2)] == ["10.0.0.2", "10.0.0.4"]


def test_a_device_gets_its_last_address_again() -> None:
    """If it is in the pool and free."""
    pool = Pool(["10.0.0.0/29"], version=4)

    assert take(pool, preferred="10.0.0.5") == "10.0.0.5"
    assert take(pool, preferred="10.0.0.5", taken={"10.0.0.5"}.__contains__) == "10.0.0.1"
    assert take(pool, preferred="192.0.2.1") == "10.0.0.2"
    assert take(pool, preferred="2001:db8::/64") == "10.0.0.3"


def test_a_freed_address_is_kept_for_its_owner() -> None:
    """Another device gets it after the quarantine, and only if no unused address is left."""
    pool = Pool(["10.0.0.0/30"], version=4)
    first, second = take(pool, "one"), take(pool, "two")
    pool.free("10.0.0.1", "one", until=600.0)

    assert (first, second) == ("10.0.0.1", "10.0.0.2")
    assert take(pool, "three", now=599.0, preferred="10.0.0.1") is None
    assert take(pool, "one", now=10.0, preferred="10.0.0.1") == "10.0.0.1"
    pool.free("10.0.0.1", "one", until=600.0)
    assert take(pool, "three", now=600.0) == "10.0.0.1"


def test_unused_addresses_are_assigned_first_then_those_free_for_longest() -> None:
    """So that late datagrams rarely reach the next owner."""
    pool = Pool(["10.0.0.0/29"], version=4)
    given_out = [take(pool, each) for each in range(3)]
    for address in ("10.0.0.2", "10.0.0.1"):
        pool.free(address, "before", until=5.0)
    later = [take(pool, "new", now=10.0) for _ in range(6)]

    assert given_out == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert later == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.1", None]


def test_an_address_that_was_not_used_is_available_at_once() -> None:
    """Before all addresses in quarantine."""
    pool = Pool(["10.0.0.0/29"], version=4)
    for each in range(6):
        take(pool, each)
    pool.free("10.0.0.4", "four", until=600.0)
    pool.free("10.0.0.5", "five")

    assert [take(pool, "new") for _ in range(2)] == ["10.0.0.5", None]


def test_an_address_outside_the_pool_is_ignored() -> None:
    """The mobile core may use others beside the pool."""
    pool = Pool(["10.0.0.0/30"], version=4)
    for address in ("192.0.2.1", "10.0.0.0", "10.0.0.3", "2001:db8::/64", ""):
        pool.free(address, "who")

    assert pool.left == 2
    assert [take(pool) for _ in range(3)] == ["10.0.0.1", "10.0.0.2", None]


def test_an_empty_pool_assigns_nothing() -> None:
    """The default configuration."""
    assert take(Pool([], version=4)) is None
    assert Pool(["2001:db8::/48"], version=4).size == 0


@pytest.mark.parametrize("version", [4, 6])
@given(actions=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60))
def test_no_two_owners_ever_have_the_same_address(version: int, actions: list[tuple[int, bool]]) -> None:
    """After any order of takes and frees."""
    pool = Pool(["10.0.0.0/29", "2001:db8::/61"], version=version)
    held: dict[int, str] = {}
    for now, (who, frees) in enumerate(actions):
        if frees:
            pool.free(held.pop(who, ""), who, until=now + 3.0)
        elif who not in held:
            address = take(pool, who, float(now), taken=lambda each: each in held.values())
            if address is not None:
                assert address in pool
                assert address not in held.values()
                held[who] = address
