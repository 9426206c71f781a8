"""
Invariant: the octets of a client are packets, a part of one, or raise PacketRefused with a place inside the packet.

The result does not depend on segmentation, and no more octets wait than the longest packet has. `scripts/bench flood`
sends 100,000 such packets to a server.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from span_events.wire.mqtt.filters import levels_of
from span_events.wire.mqtt.packets import ClientPackets, Packet, Subscribe
from span_events.wire.mqtt.reasons import PacketRefused, Reason
from tests.wire.mqtt import samples

LONGEST: Final = 64
MUTATIONS: Final = 2_500

Result = tuple[list[Packet], Reason | None]


def check(octets: bytes, size: int = 0) -> Result:
    """Check the invariant for the octets of one connection, and return what they mean."""
    packets = ClientPackets(LONGEST)
    found: list[Packet] = []
    step = size or max(1, len(octets))
    try:
        for begin in range(0, len(octets), step):
            packets.feed(octets[begin : begin + step])
            while (packet := packets.next()) is not None:
                found.append(packet)
            assert packets.waiting < LONGEST
    except PacketRefused as exc:
        refusal = exc
    else:
        check_packets(found)
        return found, None
    assert 0 <= refusal.at <= LONGEST
    assert refusal.detail
    return found, refusal.reason


def check_packets(found: list[Packet]) -> None:
    """Check that packets have what others rely on."""
    for packet in found:
        if isinstance(packet, Subscribe):
            assert packet.packet_id
            assert packet.filters


@given(st.binary(max_size=200), st.sampled_from([b"", samples.CONNECT_3, samples.CONNECT_5]))
def test_garbage_is_refused_with_one_exception(octets: bytes, begin: bytes) -> None:
    check(begin + octets)


@given(st.text(max_size=30))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    with suppress(PacketRefused):
        assert "/".join(levels_of(text)) == text


def mutated(packets: Sequence[bytes], chance: random.Random) -> bytes:
    """Return packets, perhaps in another order, with up to three changed, missing or additional parts."""
    conversation = list(packets)
    if chance.random() < 0.5:
        chance.shuffle(conversation)
    octets = bytearray(b"".join(conversation))
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(octets))
        match chance.randrange(3):
            case 0:
                octets[at] = chance.randrange(256)
            case 1:
                del octets[at : at + chance.randrange(1, 4)]
            case _:
                octets[at:at] = chance.randbytes(chance.randrange(1, 4))
        octets = octets or bytearray(1)
    return bytes(octets)


def test_thousands_of_mutated_conversations_are_decoded_or_refused() -> None:
    chance = random.Random(1883)
    results = {True: 0, False: 0}
    for _ in range(MUTATIONS):
        octets = mutated(samples.ALL[chance.choice((4, 5))], chance)
        whole = check(octets)
        assert check(octets, size=chance.randrange(1, 9)) == whole
        results[whole[1] is None] += 1

    assert min(results.values()) > MUTATIONS / 20
