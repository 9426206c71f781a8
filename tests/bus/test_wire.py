"""The form of events and messages between nodes: inverse of itself, lenient with newer nodes, strict with damage."""

from __future__ import annotations

import random
from typing import Any, Final

import orjson
import pytest

from span_events.bus import wire
from span_events.events.activity import Activity, Event, Origin
from span_events.events.catalogue import CATALOGUE, KEYS, ClientConnected, ClientDisconnected, MessageRejected
from span_events.events.message import Message, Transport
from span_events.events.reasons import DisconnectReason, MessageRejectedReason
from tests.bus.nodes import message

GARBAGE: Final = 4_000
TEXTS: Final = ("", "a", "\n\r\x00", "ünï©", '","', "x" * 300)


def example(kind: type[Event], chance: random.Random) -> Event:
    """An event with each of its keys set, or the optional ones absent."""
    values: dict[str, Any] = {}
    for key in KEYS[kind]:
        if (key.optional or key.extension) and chance.random() < 0.3:
            continue
        if key.reasons is not None or key.kind is Transport:
            values[key.attribute] = chance.choice(list(key.kind))
        elif key.kind is str:
            values[key.attribute] = chance.choice(TEXTS)
        else:
            values[key.attribute] = chance.choice([0.5, -1.0] if key.kind is float else [0, -1, (1 << 63) - 1])
    origin = Origin(*(chance.choice([None, 0, 1 << 62]) for _ in range(3)))
    return kind(origin=origin, correlation_id=chance.choice([None, 5]), session_id=chance.choice([None, 6]), **values)


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=CATALOGUE)
def test_every_event_survives_the_way(kind: type[Event]) -> None:
    """By the keys that the catalogue declares: a new event needs nothing here."""
    chance = random.Random(kind.name)
    for _ in range(10):
        activity = Activity(chance.getrandbits(63), chance.getrandbits(62), example(kind, chance))
        line = wire.encode(activity)

        assert b"\n" not in line
        assert wire.decode(line) == activity


def test_a_message_survives_the_way() -> None:
    for each in (message(9), Message(1, Origin(), 0, Transport.UDP, b""), message(2, bytes(range(256)))):
        assert wire.decode_message(wire.encode_message(each)) == each


def test_joined_lines_come_apart_again() -> None:
    assert wire.unpack(wire.pack(b"node", [b"a", b"b"])) == (b"node", [b"a", b"b"])


def test_an_event_of_a_newer_node_is_skipped_and_counted() -> None:
    """The others of its NATS message are read."""
    known = Activity(1, 2, ClientConnected(origin=Origin(3), identified_by="ip"))
    newer = wire.encode(known).replace(b"clientConnected", b"clientTeleported")
    reader = wire.Reader()

    assert list(reader.activities([newer, wire.encode(known)])) == [known]
    assert reader.skipped == {"unknown": 1, "malformed": 0}


def test_keys_reasons_and_elements_of_a_newer_node_are_ignored() -> None:
    """The event arrives without them."""
    known = Activity(1, 2, ClientDisconnected(origin=Origin(3), reason=next(iter(DisconnectReason))))
    document = orjson.loads(wire.encode(known))
    document[8] |= {"reason": "boredom", "mood": "sad", "idleSeconds": 5}

    expected = Activity(1, 2, ClientDisconnected(origin=Origin(3), idle_seconds=5))
    assert wire.decode(orjson.dumps([*document, "more"])) == expected


def test_an_event_without_a_key_that_it_needs_is_skipped() -> None:
    """Also one whose reason only a newer node knows, where the reason is the point."""
    event = MessageRejected(origin=Origin(3), reason=MessageRejectedReason.MALFORMED)
    line = wire.encode(Activity(1, 2, event))
    reader = wire.Reader()

    assert list(reader.activities([line.replace(b"malformed", b"unheardOf")])) == []
    assert reader.skipped == {"unknown": 0, "malformed": 1}


def test_damaged_lines_are_skipped_with_one_exception() -> None:
    """Any octets give an event, a message or `Undecodable`."""
    chance = random.Random(16)
    lines = [wire.encode(Activity(1, 2, example(kind, chance))) for kind in CATALOGUE.values()]
    lines.append(wire.encode_message(message(1)))
    read = 0
    for _ in range(GARBAGE):
        line = bytearray(chance.choice(lines))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(line))
            line[at : at + chance.randrange(5)] = chance.choice(
                [b"", b"null", b"-1", b"1e99", b"[]", b'"', b"\xff", b"{}"]
            )
        for decode in (wire.decode, wire.decode_message):
            try:
                decode(bytes(line))
                read += 1
            except wire.Undecodable:
                pass

    assert 0 < read < GARBAGE
