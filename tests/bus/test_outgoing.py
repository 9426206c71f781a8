"""Lines that wait for NATS: joined, in order, bounded."""

from __future__ import annotations

from span_events.bus.outgoing import LONGEST, Outgoing


def taken(outgoing: Outgoing) -> list[tuple[str, list[bytes]]]:
    """Everything that waits."""
    found = []
    while batch := outgoing.pop():
        found.append((batch.subject, batch.lines))
    return found


def test_lines_of_a_collection_are_joined_and_keep_their_order() -> None:
    """A warning ends the batch of routine before it, and other collections do not."""
    outgoing = Outgoing(1000)
    for owner, subject, line in [
        (1, "r.1", b"a"),
        (2, "r.2", b"b"),
        (1, "r.1", b"c"),
        (1, "w.1", b"d"),
        (1, "r.1", b"e"),
    ]:
        outgoing.append(owner, subject, line)

    assert taken(outgoing) == [("r.1", [b"a", b"c"]), ("r.2", [b"b"]), ("w.1", [b"d"]), ("r.1", [b"e"])]
    assert (outgoing.octets, taken(outgoing)) == (0, [])


def test_beyond_the_bound_new_lines_are_counted_and_discarded() -> None:
    outgoing = Outgoing(12)
    for line in (b"12345", b"67890", b"x", b"y"):
        outgoing.append(1, "r.1", line)

    assert outgoing.discarded == 2
    assert taken(outgoing) == [("r.1", [b"12345", b"67890"])]


def test_a_nats_message_stays_short() -> None:
    """Unless one line alone is long."""
    outgoing = Outgoing(10 * LONGEST)
    for size in (LONGEST // 2, LONGEST // 2 - 2, 1, 2 * LONGEST, 1):
        outgoing.append(1, "r.1", bytes(size))

    assert [[len(line) for line in lines] for _, lines in taken(outgoing)] == [
        [LONGEST // 2, LONGEST // 2 - 2],
        [1],
        [2 * LONGEST],
        [1],
    ]


def test_a_batch_that_was_taken_does_not_grow() -> None:
    outgoing = Outgoing(1000)
    outgoing.append(1, "r.1", b"a")
    batch = outgoing.pop()
    outgoing.append(1, "r.1", b"b")

    assert batch is not None
    assert batch.lines == [b"a"]
    assert taken(outgoing) == [("r.1", [b"b"])]
