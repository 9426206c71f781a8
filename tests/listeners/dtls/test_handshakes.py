"""The table of half-open handshakes and the check of hellos, with time moved by hand."""

from __future__ import annotations

from typing import Any, cast

import pytest

from span_events.config import DtlsConfig
from span_events.listeners.dtls.client import Client
from span_events.listeners.dtls.handshakes import Handshake, Handshakes, HelloCheck, Hellos
from span_events.net import Remote
from span_events.wire.dtls.engine import EngineSession
from span_events.wire.dtls.hello import ClientHello, read_hello
from tests.wire.dtls.test_hello import hello

A, B, C = ("10.0.0.1", 5000), ("10.0.0.2", 5000), ("10.0.1.1", 5000)
HELLO = read_hello(hello())
OLD_HELLO = read_hello(hello(version=0xFEFF))


class ScriptedEngine:
    """An engine's session whose retransmission timer is set by the test."""

    def __init__(self, timeout: float | None) -> None:
        self.seconds = timeout

    def timeout(self) -> float | None:
        """Return the seconds until the next retransmission."""
        return self.seconds


def handshake(remote: Remote, *, began: float = 0.0, timeout: float | None = 1.0) -> Handshake:
    """Make a handshake with an engine that wants to retransmit after some seconds."""
    engine = cast(EngineSession, ScriptedEngine(timeout))
    return Handshake(remote, HELLO, cast(Client, None), engine, began)


def table(*handshakes: Handshake, **settings: Any) -> Handshakes:
    """Make a table with handshakes that are scheduled at 0 s."""
    created = Handshakes(DtlsConfig(**settings))
    for each in handshakes:
        created.add(each)
        created.schedule(each, 0.0)
    return created


def with_cookie(cookie: bytes) -> ClientHello:
    """Return the hello with which a client repeats a cookie."""
    return read_hello(hello(cookie=cookie))


# ---- limits ----------------------------------------------------------------------------------


def test_a_table_with_room_evicts_nothing() -> None:
    """Both limits are above the number of handshakes."""
    assert list(table(handshake(A), half_open=2).make_room(B)) == []


def test_a_full_table_evicts_the_handshake_that_was_silent_longest() -> None:
    """A datagram of a client makes its handshake the last to be evicted."""
    first, second = handshake(A), handshake(C)
    full = table(first, second, half_open=2)
    full.refresh(first)

    assert list(full.make_room(B)) == [(second, "dtls.half_open is 2")]
    assert list(full) == [first]


def test_a_full_prefix_evicts_a_neighbour_only() -> None:
    """Handshakes of other prefixes stay, also those that were silent for longer."""
    other, neighbour = handshake(C), handshake(A)
    full = table(other, neighbour, half_open_per_prefix=1)

    assert list(full.make_room(B)) == [(neighbour, "dtls.half_open_per_prefix is 1")]
    assert list(full) == [other]


def test_an_eviction_from_the_prefix_makes_room_in_the_table_too() -> None:
    """One new handshake ends one other."""
    neighbour, other = handshake(A), handshake(C)
    full = table(other, neighbour, half_open=2, half_open_per_prefix=1)

    assert [evicted for evicted, _ in full.make_room(B)] == [neighbour]


def test_a_handshake_is_removed_once_and_by_itself_only() -> None:
    """A later handshake of the same address is not removed in place of an earlier one."""
    first, second = handshake(A), handshake(A)
    handshakes = table(first)
    handshakes.remove(first)
    handshakes.add(second)
    handshakes.remove(first)

    assert (first in handshakes, second in handshakes, handshakes.at(A)) == (False, True, second)


# ---- deadlines -------------------------------------------------------------------------------


def test_the_deadline_is_the_earliest_retransmission() -> None:
    """Of all handshakes."""
    assert table(handshake(A, timeout=2.0), handshake(B, timeout=1.0), handshake(C, timeout=3.0)).deadline() == 1.0


def test_an_empty_table_has_no_deadline() -> None:
    """Also one whose handshakes have ended."""
    first = handshake(A)
    handshakes = table(first)
    handshakes.remove(first)

    assert handshakes.deadline() is None
    assert handshakes.take_due(100.0) == []


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_the_deadline_is_never_after_the_end_of_the_handshake(timeout: float | None) -> None:
    """That end is dtls.handshake_timeout after the beginning, with or without a retransmission before."""
    assert table(handshake(A, began=-5.0, timeout=timeout), handshake_timeout=30.0).deadline() == 25.0


def test_due_handshakes_are_taken_once() -> None:
    """Until they are scheduled again, by the engine's next timeout."""
    early, late = handshake(A, timeout=1.0), handshake(B, timeout=4.0)
    handshakes = table(early, late)

    assert handshakes.take_due(0.5) == []
    assert handshakes.take_due(1.0) == [early]
    assert handshakes.take_due(1.0) == []
    assert handshakes.deadline() == 4.0
    cast(ScriptedEngine, early.engine).seconds = 2.0
    handshakes.schedule(early, 1.0)
    assert handshakes.deadline() == 3.0
    assert handshakes.take_due(4.0) == [early, late]


def test_a_handshake_is_late_after_its_timeout() -> None:
    """By up to a millisecond too early, as timers are."""
    handshakes, first = Handshakes(DtlsConfig(handshake_timeout=30.0)), handshake(A, began=10.0)

    assert [handshakes.is_late(first, now) for now in (10.0, 39.9, 39.9995, 40.0)] == [False, False, True, True]


def test_the_deadline_of_an_ended_handshake_does_not_count_for_the_next_one_of_its_address() -> None:
    """Each handshake has a number of its own."""
    first, second = handshake(A, timeout=1.0), handshake(A, timeout=5.0)
    handshakes = table(first)
    handshakes.remove(first)
    handshakes.add(second)
    handshakes.schedule(second, 0.0)

    assert handshakes.take_due(2.0) == []
    assert handshakes.deadline() == 5.0


def test_deadlines_of_ended_handshakes_are_swept_out() -> None:
    """A client that begins anew again and again leaves a bounded number behind."""
    handshakes = table(handshake(B, timeout=20.0))
    for _ in range(10_000):
        each = handshake(A)
        handshakes.add(each)
        handshakes.schedule(each, 0.0)
        handshakes.remove(each)

    assert len(handshakes._deadlines) < 100
    assert handshakes.deadline() == 20.0


# ---- hellos ----------------------------------------------------------------------------------


def test_a_hello_with_its_cookie_proves_the_address() -> None:
    """A hello without one, or with that of another address, does not."""
    hellos = Hellos(10)
    cookie = hellos.cookie(A, 0.0)

    assert hellos.check(HELLO, A, 0.0) is HelloCheck.NO_COOKIE
    assert hellos.check(with_cookie(cookie), B, 0.0) is HelloCheck.NO_COOKIE
    assert hellos.check(with_cookie(cookie), A, 59.0) is HelloCheck.PROVEN


def test_a_cookie_expires() -> None:
    """After two minutes at most."""
    hellos = Hellos(10)
    cookie = hellos.cookie(A, 0.0)

    assert hellos.check(with_cookie(cookie), A, 61.0) is HelloCheck.PROVEN
    assert hellos.check(with_cookie(cookie), A, 122.0) is HelloCheck.NO_COOKIE


def test_a_host_with_too_many_failures_is_silenced_for_a_minute() -> None:
    """Other hosts are not."""
    hellos = Hellos(2)
    for now in (0.0, 1.0):
        assert not hellos.is_silenced(A[0], now)
        hellos.failed(A[0], now)

    assert hellos.is_silenced(A[0], 59.9)
    assert not hellos.is_silenced(B[0], 59.9)
    assert not hellos.is_silenced(A[0], 60.0)


def test_refused_versions_are_answered_up_to_the_limit_and_silence_no_handshake() -> None:
    """Anybody can forge such a hello, because the refusal needs no cookie."""
    hellos = Hellos(2)

    assert [hellos.check(OLD_HELLO, A, 0.0) for _ in range(3)] == [
        *(HelloCheck.UNSUPPORTED_VERSION, HelloCheck.UNSUPPORTED_VERSION, HelloCheck.SILENCED)
    ]
    assert not hellos.is_silenced(A[0], 0.0)
    assert hellos.check(OLD_HELLO, A, 60.0) is HelloCheck.UNSUPPORTED_VERSION


# ---- the question about an unknown client ------------------------------------------------------


def test_a_handshake_that_waits_keeps_some_datagrams_and_drops_a_flood() -> None:
    """The client sends again those beyond 16 KiB; without a question nothing waits."""
    waiting, other = handshake(A), handshake(B)
    waiting.held = []
    held = [waiting.holds(b"x" * 1_000) for _ in range(1_000)]

    assert (held, len(waiting.held)) == ([True] * 1_000, 16)
    assert not other.holds(b"x")
