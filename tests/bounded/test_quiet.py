"""Log lines that are written once a minute."""

from span_events.bounded.quiet import OncePerMinute


def test_the_first_occurrence_is_told_and_the_next_line_counts_those_between() -> None:
    quiet = OncePerMinute(keys=10)
    told = [quiet.admits("a", 0.0), quiet.admits("a", 1.0), quiet.admits("a", 59.0), quiet.admits("b", 59.0)]

    assert told == [1, 0, 0, 1]
    assert quiet.admits("a", 60.0) == 3


def test_keys_beyond_the_bound_share_one_line() -> None:
    quiet = OncePerMinute(keys=2)
    told = [quiet.admits(key, 0.0) for key in ("a", "b", "c", "d", "a")]

    assert told == [1, 1, 1, 0, 0]
    assert len(quiet) == 3


def test_a_key_that_is_silent_for_a_minute_makes_room() -> None:
    quiet = OncePerMinute(keys=1)
    quiet.admits("a", 0.0)
    quiet.admits("a", 1.0)

    assert quiet.admits("b", 130.0) == 1
    assert len(quiet) == 1
