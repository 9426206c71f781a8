"""Limits per key and minute."""

from span_events.bounded.per_minute import LimitPerMinute


def test_a_key_exceeds_its_limit_until_its_minute_is_over() -> None:
    limit = LimitPerMinute(2, keys=10)
    limit.count("a", 0.0)
    once = limit.exceeded("a", 1.0)
    limit.count("a", 59.0)

    assert (once, limit.exceeded("a", 59.0), limit.exceeded("b", 59.0), limit.exceeded("a", 60.0)) == (
        False,
        True,
        False,
        False,
    )


def test_beyond_the_bound_the_key_whose_minute_began_first_is_evicted() -> None:
    limit = LimitPerMinute(1, keys=2)
    for key in ("a", "b", "c"):
        limit.count(key, 0.0)

    assert [limit.exceeded(key, 1.0) for key in ("a", "b", "c")] == [False, True, True]
