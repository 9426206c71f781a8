"""A table that forgets by age and by number."""

from __future__ import annotations

from span_events.bounded.expiring import ExpiringMap, ExpiringMapOfPeers


def test_a_value_is_kept_for_its_lifetime() -> None:
    """And not a moment longer."""
    table: ExpiringMap[str, int] = ExpiringMap(limit=10, lifetime=5.0)
    table.put("a", 1, 0.0)

    assert (table.get("a", 4.9), table.get("a", 5.0)) == (1, None)


def test_putting_again_counts_from_then_on() -> None:
    """The value is the new one."""
    table: ExpiringMap[str, int] = ExpiringMap(limit=10, lifetime=5.0)
    table.put("a", 1, 0.0)
    table.put("a", 2, 3.0)

    assert (table.get("a", 7.0), len(table)) == (2, 1)


def test_an_insertion_removes_expired_values() -> None:
    """An insertion removes expired values; there is no timer."""
    table: ExpiringMap[str, int] = ExpiringMap(limit=10, lifetime=5.0)
    for number, key in enumerate("abc"):
        table.put(key, number, float(number))
    table.put("d", 3, 6.0)

    assert (len(table), table.get("c", 6.0)) == (2, 2)


def test_a_full_table_evicts_the_oldest_value() -> None:
    """The order is that of `put`."""
    table: ExpiringMap[str, int] = ExpiringMap(limit=2, lifetime=5.0)
    for key in "aba":
        table.put(key, 0, 0.0)
    table.put("c", 0, 0.0)

    assert [table.get(key, 0.0) for key in "abc"] == [0, None, 0]


def test_a_value_can_be_dropped() -> None:
    """Dropping an unknown key does nothing."""
    table: ExpiringMap[str, int] = ExpiringMap(limit=2, lifetime=5.0)
    table.put("a", 1, 0.0)
    table.forget("a")
    table.forget("a")

    assert len(table) == 0


def test_all_values_of_a_peer_can_be_forgotten() -> None:
    """Whatever has become of its values before; others keep theirs."""
    table: ExpiringMapOfPeers[str, int, str] = ExpiringMapOfPeers(limit=3, lifetime=5.0)
    table.put(("a", 1), "evicted", 0.0)
    for number in (2, 3, 3):
        table.put(("a", number), "kept", 1.0)
    table.put(("b", 1), "other", 1.0)
    table.forget(("a", 2))
    table.put(("c", 1), "other", 1.0)
    table.forget_peer("a")
    table.forget_peer("nobody")

    assert len(table) == 2
    assert table.get(("a", 3), 1.0) is None
    assert table.get(("b", 1), 1.0) == "other"


def test_an_index_that_outlives_its_values_would_leak() -> None:
    """Age empties it as well."""
    table: ExpiringMapOfPeers[int, int, str] = ExpiringMapOfPeers(limit=10, lifetime=5.0)
    for number in range(100):
        table.put((number, 0), "x", number * 1.0)

    assert len(table._of_peer) == len(table) == 5
