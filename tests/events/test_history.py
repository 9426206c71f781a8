"""History: bounded, ordered, with gaps reported."""

from __future__ import annotations

import pytest

from span_events.events.activity import Activity, Origin
from span_events.events.catalogue import DeviceCreated, DeviceUpdated, MessageRejected
from span_events.events.filters import EVERYTHING, PASS_ALL, Filter, Scope
from span_events.events.history import History, Past, Replay
from span_events.events.reasons import MessageRejectedReason


def created(identifier: int, collection: int | None = 1, device: int = 1, *, time_ns: int = 0) -> Activity:
    """An activity with a chosen id."""
    return Activity(identifier, time_ns, DeviceCreated(origin=Origin(collection, device)))


def failed(identifier: int, *, detail: str | None = None) -> Activity:
    """A warning with a chosen id."""
    reason = MessageRejectedReason.MALFORMED
    return Activity(identifier, 0, MessageRejected(origin=Origin(1, 1), reason=reason, detail=detail))


def filled(*activities: Activity, per_collection: int = 3, total: int = 100) -> History:
    """A history that has seen these."""
    history = History(per_collection=per_collection, total=total, born=0)
    for each in activities:
        history.append(each)
    return history


def identifiers(replay: Replay) -> list[int]:
    """The ids of a replay."""
    return [each.id for each in replay.activities]


def test_the_tail_is_the_last_ones_in_order() -> None:
    """Oldest first, as they were sent."""
    history = filled(created(1), created(2), created(3))

    assert identifiers(history.tail(Scope(1), PASS_ALL, 2)) == [2, 3]
    assert identifiers(history.tail(Scope(1), PASS_ALL, 0)) == []


def test_the_tail_counts_matching_events_only() -> None:
    """The last two deviceCreated, regardless of other events between."""
    updated = Activity(3, 0, DeviceUpdated(origin=Origin(1, 1)))
    history = filled(created(1), created(2), updated)

    assert identifiers(history.tail(Scope(1), Filter(names=frozenset({"deviceCreated"})), 2)) == [1, 2]


def test_everything_is_merged_by_identifier() -> None:
    """Collections, and unattributed events."""
    history = filled(created(1, 1), created(2, None), created(3, 2), created(4, 1))

    assert identifiers(history.tail(EVERYTHING, PASS_ALL, 3)) == [2, 3, 4]
    assert identifiers(history.after(EVERYTHING, PASS_ALL, 1)) == [2, 3, 4]


def test_a_device_sees_its_own_only() -> None:
    """Scope is applied to the past as to the present."""
    history = filled(created(1, device=1), created(2, device=2))

    assert identifiers(history.after(Scope(1, 2), PASS_ALL, 0)) == [2]


def test_a_full_ring_evicts_the_oldest_and_reports_the_gap() -> None:
    """After 1 the second is missing; after 2 nothing is."""
    history = filled(created(1), created(2), created(3), created(4), created(5))

    assert history.after(Scope(1), PASS_ALL, 1) == Replay(tuple(map(created, [3, 4, 5])), lost_through=2)
    assert history.after(Scope(1), PASS_ALL, 2).lost_through is None


def test_the_collection_that_was_quiet_longest_gives_way() -> None:
    """The total is a bound over all collections."""
    history = filled(created(1, 1), created(2, 2), created(3, 2), total=2)

    assert history.size == 2
    assert identifiers(history.after(EVERYTHING, PASS_ALL, 0)) == [2, 3]
    assert history.after(Scope(1), PASS_ALL, 0).lost_through == 1
    assert history.after(Scope(2), PASS_ALL, 1).lost_through is None


def test_nothing_is_known_of_the_time_before_birth() -> None:
    """A client that resumes after a restart learns that events may be missing."""
    history = History(per_collection=3, total=10, born=50)

    assert history.after(Scope(1), PASS_ALL, 49).lost_through == 50
    assert history.after(Scope(1), PASS_ALL, 50).lost_through is None


def test_routine_does_not_push_out_warnings_and_errors() -> None:
    """Of the last 1,000 events of a busy collection, most are messages."""
    history = filled(failed(1), failed(2), *map(created, range(3, 1003)), failed(1003), per_collection=8)

    assert identifiers(history.tail(Scope(1), PASS_ALL, 100)) == [2, *range(995, 1003), 1003]


def test_faults_and_routine_are_merged_by_identifier() -> None:
    history = filled(created(1), failed(2), created(3), failed(4), per_collection=8)

    assert identifiers(history.after(Scope(1), PASS_ALL, 1)) == [2, 3, 4]
    assert identifiers(history.tail(EVERYTHING, PASS_ALL, 3)) == [2, 3, 4]


def test_old_events_are_forgotten_and_the_gap_is_told() -> None:
    """The age is compared with the time of the event."""
    history = History(per_collection=8, total=100, born=0, age=60.0)
    for identifier in (1, 2, 3):
        history.append(created(identifier, time_ns=identifier * 10_000_000_000))
    history.sweep(81_000_000_000)

    assert identifiers(history.tail(Scope(1), PASS_ALL, 10)) == [3]
    assert history.after(Scope(1), PASS_ALL, 1).lost_through == 2


def test_the_memory_is_bounded_in_octets() -> None:
    """An event with long texts takes the place of several short ones."""
    history = History(per_collection=1000, total=1000, octets=20_000, born=0)
    for identifier in range(100):
        history.append(created(identifier))
    short = history.size
    long = "x" * 5_000
    for identifier in range(100, 200):
        history.append(failed(identifier, detail=long))

    assert 10 < short < 60
    assert history.size - short < 3


def several_nodes(*arrivals: int, per_collection: int = 10) -> History:
    """A history of events of several nodes, in the order of their arrival."""
    history = History(per_collection=per_collection, total=100, born=0)
    for identifier in arrivals:
        history.insert(created(identifier))
    return history


def test_the_oldest_events_of_several_nodes_are_evicted_although_they_came_late() -> None:
    history = several_nodes(1, 5, 3, 9, 7, 8, per_collection=4)

    assert identifiers(history.after(Scope(1), PASS_ALL, 0)) == [5, 9, 7, 8]
    assert identifiers(history.tail(Scope(1), PASS_ALL, 2)) == [9, 8]
    assert history.after(Scope(1), PASS_ALL, 0).lost_through == 3


@pytest.mark.parametrize("seen", range(1, 7))
def test_a_subscriber_that_resumes_gets_those_that_arrived_after_the_last_one(seen: int) -> None:
    """Wherever its stream broke off: none twice, none never, although older ones arrived after younger ones."""
    arrivals = [1, 5, 3, 9, 7, 8]
    history = several_nodes(*arrivals)

    assert identifiers(history.after(Scope(1), PASS_ALL, arrivals[seen - 1])) == arrivals[seen:]


def test_a_past_from_elsewhere_keeps_the_order_of_its_arrival() -> None:
    """A node that began to follow later resumes a stream as one that followed all the time."""
    arrivals = [1, 5, 3, 9, 7, 8]
    history = several_nodes(30, 20)
    history.fill(Past([created(each) for each in arrivals], 1))

    for number, each in enumerate(arrivals, 1):
        assert identifiers(history.after(Scope(1), PASS_ALL, each)) == [*arrivals[number:], 30, 20]


def test_after_a_moment_come_the_younger_ones() -> None:
    """Also after an event that is not known here; those that came late are not younger."""
    assert identifiers(several_nodes(1, 5, 3, 9, 7, 8).after(Scope(1), PASS_ALL, 6)) == [9, 7, 8]


def test_the_past_from_elsewhere_is_added_to_what_is_known() -> None:
    """Once, in the order of its arrival, within the bounds; of the other collections nothing changes."""
    history = History(per_collection=4, total=100, born=50)
    for each in (created(60), created(61), created(70, 2)):
        history.append(each)
    history.fill(Past([created(10), failed(11), created(60), created(59)], 1, since=5))

    assert identifiers(history.after(Scope(1), PASS_ALL, 0)) == [10, 11, 60, 59, 61]
    assert history.after(Scope(1), PASS_ALL, 6).lost_through is None
    assert history.after(Scope(1), PASS_ALL, 4).lost_through == 5
    assert history.after(Scope(2), PASS_ALL, 6).lost_through == 50
    assert history.size == 6


def test_the_past_of_everyone_counts_for_every_collection() -> None:
    """But for those of which more is missing."""
    history = History(per_collection=4, total=100, born=50)
    history.fill(Past([created(10), created(20, 2)], None, of_everyone=True, since=5, cut={2: 19}))

    assert history.after(Scope(1), PASS_ALL, 6).lost_through is None
    assert history.after(Scope(2), PASS_ALL, 6).lost_through == 19
    assert history.after(EVERYTHING, PASS_ALL, 6).lost_through == 19


def test_a_past_that_is_unknown_makes_the_history_begin_now() -> None:
    history = filled(created(1), created(2))
    history.fill(Past((), 1, since=9))

    assert history.after(Scope(1), PASS_ALL, 1) == Replay((created(2),), lost_through=9)
