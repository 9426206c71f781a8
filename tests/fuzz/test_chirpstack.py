"""ChirpStack bodies: whatever comes is an event of ours or is refused with one exception, and memory stays flat."""

from __future__ import annotations

import random
import tracemalloc
from typing import Final

from google.protobuf.json_format import ParseDict

from span_events.dialects.chirpstack.encoding import MESSAGES
from span_events.dialects.chirpstack.reading import read
from span_events.dialects.chirpstack.rules import Kind
from span_events.dialects.chirpstack.translation import event_of, restored, uplink_of
from span_events.dialects.span import PLAIN
from span_events.errors import InvalidRequest
from span_events.events.activity import Activity, Origin
from tests.dialects.chirpstack.samples import SAMPLES, body

BODIES: Final = 6_000
GROWTH: Final = 2 << 20
"""Octets of memory that may be more after the second half than after the first."""
WORDS: Final = (
    b"null",
    b"[]",
    b"{}",
    b"-1",
    b"1e999",
    b'"\\ud800"',
    b"99999999999999999999",
    b'"0001-01-01T00:00:00Z"',
)
ORIGIN: Final = Origin(10, 20)


def mutated(octets: bytes, chance: random.Random) -> bytes:
    """Change a body a little: bits, cuts, repetitions, and other values."""
    data = bytearray(octets)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case 2:
                data[at:at] = data[max(0, at - 30) : at]
            case 3:
                data[at : at + chance.randrange(12)] = chance.choice(WORDS)
            case _:
                colon = data.find(b":", at)
                end = min((each for each in (data.find(b",", colon), data.find(b"}", colon)) if each > 0), default=-1)
                if 0 < colon < end:
                    data[colon + 1 : end] = chance.choice(WORDS)
    return bytes(data)


def take(kind: Kind, octets: bytes, chance: random.Random) -> bool:
    """Read and translate a body, and write the event; return whether it was accepted."""
    try:
        fields = read(kind, octets)
        if kind is Kind.UP:
            uplink_of(fields)
            return True
    except InvalidRequest:
        return False
    event = event_of(kind, fields, ORIGIN, 1)
    PLAIN.encode(Activity(1 << 40, 1, event))
    again = restored(chance.choice(("messageDuplicate", "ciotDisconnect", "clientConnected")), fields, ORIGIN, 1)
    if again is not None:
        PLAIN.encode(Activity(1 << 40, 1, again))
    return True


def test_mutated_bodies_are_events_or_refused() -> None:
    chance = random.Random(15)
    whole = [(Kind(kind), body(kind)) for kind in SAMPLES]
    whole += [(kind, ParseDict(SAMPLES[kind], MESSAGES[kind]()).SerializeToString()) for kind, _ in whole]
    accepted = 0
    sizes = []
    tracemalloc.start()
    try:
        for _ in range(2):
            for _ in range(BODIES // 2):
                kind, octets = chance.choice(whole)
                accepted += take(kind, mutated(octets, chance), chance)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()

    assert BODIES // 10 < accepted < BODIES
    assert sizes[1] - sizes[0] < GROWTH
