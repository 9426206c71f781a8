"""Idle timers."""

from __future__ import annotations

from span_events.bounded.idle import IdleTimers


def test_an_item_without_refresh_for_its_lifetime_is_due() -> None:
    """Each for its own; at the very moment."""
    expiry: IdleTimers[str] = IdleTimers()
    expiry.touch("short", 0.0, 10.0)
    expiry.touch("long", 0.0, 20.0)
    due = [expiry.take_due(now, limit=9) for now in (9.9, 10.0, 19.9, 20.0)]

    assert due == [[], ["short"], [], ["long"]]
    assert len(expiry) == 0


def test_a_refresh_begins_a_new_lifetime() -> None:
    """The same as before, or another."""
    expiry: IdleTimers[str] = IdleTimers()
    for name in ("same", "shorter", "dropped"):
        expiry.touch(name, 0.0, 10.0)
    expiry.touch("same", 5.0)
    expiry.touch("shorter", 5.0, 1.0)
    expiry.drop("dropped")
    expiry.drop("never there")

    assert expiry.take_due(14.9, limit=9) == ["shorter"]
    assert expiry.take_due(15.0, limit=9) == ["same"]


def test_a_look_takes_nothing() -> None:
    """Up to the given number, in the order of their time."""
    expiry: IdleTimers[str] = IdleTimers()
    for name in ("first", "second", "third"):
        expiry.touch(name, 0.0, 10.0)

    assert expiry.due(10.0, limit=2) == ["first", "second"]
    assert expiry.due(9.9) == []
    assert len(expiry) == 3
    assert "first" in expiry


def test_one_call_takes_at_most_the_given_number() -> None:
    """The rest waits for the next."""
    expiry: IdleTimers[int] = IdleTimers()
    for number in range(5):
        expiry.touch(number, float(number), 1.0)

    assert [expiry.take_due(100.0, limit=2) for _ in range(4)] == [[0, 1], [2, 3], [4], []]


def test_the_item_refreshed_longest_ago_is_found_over_all_lifetimes() -> None:
    """The item refreshed longest ago."""
    expiry: IdleTimers[str] = IdleTimers()
    expiry.touch("b", 2.0, 5.0)
    expiry.touch("a", 1.0, 100.0)
    expiry.touch("c", 3.0, 5.0)
    found = [expiry.quietest()]
    expiry.touch("a", 4.0)
    found.append(expiry.quietest())

    assert found == ["a", "b"]
    assert IdleTimers().quietest() is None
