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
    """Ask for an address; nobody else has any unless it is said."""
    return pool.take(whose, now, preferred=preferred, is_taken=taken or (lambda _: False))


def test_addresses_are_given_in_order_until_there_are_none() -> None:
    """Not the first and last of a network, which routers take for its own."""
    pool = Pool(["10.0.0.0/29", "10.9.0.0/31", "10.8.0.7/32"], version=4)

    assert pool.size == 9
    assert [take(pool, each) for each in range(10)] == [
        *(f"10.0.0.{last}" for last in range(1, 7)),
        *("10.8.0.7", "10.9.0.0", "10.9.0.1", None),
    ]


def test_of_ipv6_a_device_gets_a_64() -> None:
    """However short the prefix of the pool is."""
    pool = Pool(["2001:db8:1:fffe::/63", "10.0.0.0/24"], version=6)

    assert pool.size == 2
    assert [take(pool) for _ in range(3)] == ["2001:db8:1:fffe::/64", "2001:db8:1:ffff::/64", None]
    assert Pool(["2001:db8::/32"], version=6).size == 1 << 32


def test_overlapping_prefixes_give_each_address_once() -> None:
    """As if only the larger one was there."""
    pool = Pool(["10.0.0.0/30", "10.0.0.0/29", "10.0.0.0/30"], version=4)

    assert [take(pool) for _ in range(7)] == [*(f"10.0.0.{last}" for last in range(1, 7)), None]


def test_what_others_have_is_passed_over() -> None:
    """From wherever they have it."""
    pool = Pool(["10.0.0.0/29"], version=4)

    assert [take(pool, taken={"10.0.0.1", "10.0.0.3"}.__contains__) for _ in range(2)] == ["10.0.0.2", "10.0.0.4"]


def test_a_device_gets_its_last_address_again() -> None:
    """If it is of the pool and nobody has it."""
    pool = Pool(["10.0.0.0/29"], version=4)

    assert take(pool, preferred="10.0.0.5") == "10.0.0.5"
    assert take(pool, preferred="10.0.0.5", taken={"10.0.0.5"}.__contains__) == "10.0.0.1"
    assert take(pool, preferred="192.0.2.1") == "10.0.0.2"
    assert take(pool, preferred="2001:db8::/64") == "10.0.0.3"


def test_a_freed_address_is_kept_for_its_owner() -> None:
    """Another one gets it when the quarantine is over, and only if nothing fresh is left."""
    pool = Pool(["10.0.0.0/30"], version=4)
    first, second = take(pool, "one"), take(pool, "two")
    pool.free("10.0.0.1", "one", until=600.0)

    assert (first, second) == ("10.0.0.1", "10.0.0.2")
    assert take(pool, "three", now=599.0, preferred="10.0.0.1") is None
    assert take(pool, "one", now=10.0, preferred="10.0.0.1") == "10.0.0.1"
    pool.free("10.0.0.1", "one", until=600.0)
    assert take(pool, "three", now=600.0) == "10.0.0.1"


def test_fresh_addresses_come_before_used_ones_and_the_longest_free_first() -> None:
    """So that late datagrams rarely meet the next owner."""
    pool = Pool(["10.0.0.0/29"], version=4)
    given_out = [take(pool, each) for each in range(3)]
    for address in ("10.0.0.2", "10.0.0.1"):
        pool.free(address, "before", until=5.0)
    later = [take(pool, "new", now=10.0) for _ in range(6)]

    assert given_out == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert later == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.1", None]


def test_what_was_not_used_is_there_at_once() -> None:
    """Before everything that is in quarantine."""
    pool = Pool(["10.0.0.0/29"], version=4)
    for each in range(6):
        take(pool, each)
    pool.free("10.0.0.4", "four", until=600.0)
    pool.free("10.0.0.5", "five")

    assert [take(pool, "new") for _ in range(2)] == ["10.0.0.5", None]


def test_a_foreign_address_is_not_taken_in() -> None:
    """The mobile core may use others beside the pool."""
    pool = Pool(["10.0.0.0/30"], version=4)
    for address in ("192.0.2.1", "10.0.0.0", "10.0.0.3", "2001:db8::/64", ""):
        pool.free(address, "who")

    assert pool.left == 2
    assert [take(pool) for _ in range(3)] == ["10.0.0.1", "10.0.0.2", None]


def test_an_empty_pool_gives_nothing() -> None:
    """As it is without a configuration."""
    assert take(Pool([], version=4)) is None
    assert Pool(["2001:db8::/48"], version=4).size == 0


@pytest.mark.parametrize("version", [4, 6])
@given(actions=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60))
def test_no_two_ever_have_the_same(version: int, actions: list[tuple[int, bool]]) -> None:
    """Whoever takes and frees in whatever order, as long as it is asked who has what."""
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
