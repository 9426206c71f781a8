"""Budgets of clients."""

from __future__ import annotations

from span_events.bounded.budgets import Budget


def test_a_burst_is_allowed_once_and_the_rate_for_ever() -> None:
    budget = Budget(10.0, 100.0)

    assert budget.allows(100, 0.0)
    assert not budget.allows(1, 0.0)
    assert budget.allows(9, 1.0)
    assert not budget.allows(1, 1.0)


def test_units_given_back_never_make_a_burst_larger() -> None:
    budget = Budget(10.0, 100.0)
    budget.allows(50, 0.0)
    budget.allows(-1_000, 0.0)

    assert budget.allows(100, 0.0)
    assert not budget.allows(1, 0.0)
