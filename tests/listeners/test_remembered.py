"""A table that forgets by age and by number."""

from __future__ import annotations

from span_events.listeners.remembered import Remembered


def test_a_value_is_kept_for_its_lifetime() -> None:
    """And not a moment longer."""
    table: Remembered[str, int] = Remembered(limit=10, lifetime=5.0)
    table.put("a", 1, 0.0)

    assert (table.get("a", 4.9), table.get("a", 5.0)) == (1, None)


def test_putting_again_counts_from_then_on() -> None:
    """The value is the new one."""
    table: Remembered[str, int] = Remembered(limit=10, lifetime=5.0)
    table.put("a", 1, 0.0)
    table.put("a", 2, 3.0)

    assert (table.get("a", 7.0), len(table)) == (2, 1)


def test_what_is_due_goes_when_something_comes() -> None:
    """There is no timer."""
    table: Remembered[str, int] = Remembered(limit=10, lifetime=5.0)
    for number, key in enumerate("abc"):
        table.put(key, number, float(number))
    table.put("d", 3, 6.0)

    assert (len(table), table.get("c", 6.0)) == (2, 2)


def test_the_oldest_goes_when_the_table_is_full() -> None:
    """The order is that of `put`."""
    table: Remembered[str, int] = Remembered(limit=2, lifetime=5.0)
    for key in "aba":
        table.put(key, 0, 0.0)
    table.put("c", 0, 0.0)

    assert [table.get(key, 0.0) for key in "abc"] == [0, None, 0]


def test_a_value_can_be_dropped() -> None:
    """Also one that is not there."""
    table: Remembered[str, int] = Remembered(limit=2, lifetime=5.0)
    table.put("a", 1, 0.0)
    table.forget("a")
    table.forget("a")

    assert len(table) == 0
