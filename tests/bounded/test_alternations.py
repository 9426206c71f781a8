"""Alternations: two places in turn, which a move from one place to another is not."""

from __future__ import annotations

from span_events.bounded.alternations import Alternations


def noted(*uses: tuple[str, float], within: float = 60.0) -> list[str | None]:
    """Return the results for the uses of one key: place and time."""
    alternations: Alternations[str, str] = Alternations(limit=10, within=within)
    return [alternations.note("key", place, now) for place, now in uses]


def test_a_move_is_no_alternation() -> None:
    """A device got another address, and another again."""
    assert noted(("A", 0), ("A", 1), ("B", 2), ("B", 3), ("C", 4)) == [None] * 5


def test_a_return_to_the_earlier_place_names_the_other() -> None:
    assert noted(("A", 0), ("B", 1), ("A", 2), ("B", 3)) == [None, None, "B", "A"]


def test_a_late_return_is_a_move() -> None:
    """The device was at home in the morning and is at home in the evening."""
    assert noted(("A", 0), ("B", 61), ("A", 62)) == [None, None, None]


def test_a_third_place_between_is_no_return() -> None:
    assert noted(("A", 0), ("B", 1), ("C", 2), ("A", 3)) == [None] * 4


def test_keys_are_bounded_and_the_one_unused_for_longest_goes() -> None:
    alternations: Alternations[int, str] = Alternations(limit=3, within=60.0)
    for key in (1, 2, 3, 1, 4):
        alternations.note(key, "A", key)
    alternations.note(1, "B", 5)

    assert len(alternations) == 3
    assert alternations.note(1, "A", 6) == "B"


def test_a_forgotten_key_begins_anew() -> None:
    alternations: Alternations[int, str] = Alternations(limit=3, within=60.0)
    for place in ("A", "B"):
        alternations.note(1, place, 0)
    alternations.forget(1)

    assert alternations.note(1, "A", 1) is None
