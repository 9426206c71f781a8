"""Keepalive of a gateway's connection, as a pure decision."""

from __future__ import annotations

import pytest

from span_events.config import GatewaysConfig
from span_events.listeners.gateways.keepalive import Due, Keepalive

LIMITS = GatewaysConfig(keepalive_interval=60, keepalive_timeout=20, stalled_after=30)


@pytest.fixture
def keepalive() -> Keepalive:
    """The watch over a connection whose last input came at 100 s."""
    return Keepalive(LIMITS, 100.0)


def check(keepalive: Keepalive, now: float, oldest: float | None = None, *, is_reading: bool = True) -> Due:
    """Check at a time."""
    return keepalive.check(now, oldest=oldest, is_reading=is_reading)


def test_silence_leads_to_one_ping_and_then_to_the_end(keepalive: Keepalive) -> None:
    """Each deadline is the time at which the next action is due."""
    first = keepalive.deadline(100.0, oldest=None)
    actions = [check(keepalive, now) for now in (first - 0.1, first, first + 0.1)]
    second = keepalive.deadline(first, oldest=None)

    assert actions == [Due.NOTHING, Due.PING, Due.NOTHING]
    assert (first, second) == (160.0, 180.0)
    assert check(keepalive, second) is Due.SILENT


def test_silence_proves_nothing_while_input_is_not_read(keepalive: Keepalive) -> None:
    """The answer to the ping may wait in the kernel."""
    check(keepalive, 160.0)

    assert check(keepalive, 200.0, is_reading=False) is Due.NOTHING
    assert keepalive.deadline(200.0, oldest=None) == 200.0


def test_a_waiting_message_shortens_the_deadline(keepalive: Keepalive) -> None:
    """A gateway that reads nothing is slow, whatever it sends."""
    assert keepalive.deadline(100.0, oldest=101.0) == 131.0
    assert [check(keepalive, now, 101.0) for now in (130.9, 131.0)] == [Due.NOTHING, Due.STALLED]


def test_the_call_ends_at_the_deadline_that_its_client_set(keepalive: Keepalive) -> None:
    """The call's deadline precedes every other action."""
    keepalive.limit(5.0)

    assert keepalive.deadline(100.0, oldest=None) == 105.0
    assert check(keepalive, 200.0, 101.0) is Due.DEADLINE
