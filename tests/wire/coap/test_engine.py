"""The message layer: replies, empty acknowledgements, separate responses and their retransmission."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pytest

from span_events.wire.coap.engine import ACK_DELAY, Delayed, MessageLayer, Stage
from span_events.wire.coap.messages import CoapMessage, Code, Type, decode


@dataclass(frozen=True)
class Sender:
    """A client's endpoint."""

    address: Hashable = "a"


CLIENT = Sender()


def layer(**options: Any) -> MessageLayer[Sender]:
    """Make a message layer whose first timeout is 2 s and whose first message id is 0."""
    return MessageLayer(spread=lambda low, _: low, **options)


def request(message_id: int = 7, token: bytes = b"t", kind: Type = Type.CON) -> CoapMessage:
    """Make a request."""
    return CoapMessage(kind, Code.POST, message_id, token, (), b"photo")


def respond(messages: MessageLayer[Sender], delayed: Delayed[Sender], now: float) -> bytes | None:
    """Answer a delayed request with 2.01."""
    return messages.respond(delayed, Code.CREATED, b"", (), now)


def sent(messages: MessageLayer[Sender], now: float) -> list[CoapMessage]:
    """Return what is due."""
    return [decode(outgoing.octets) for outgoing in messages.datagrams(now)]


def separate(messages: MessageLayer[Sender], now: float = 0.0, message_id: int = 7, token: bytes = b"t") -> None:
    """Let a response become a separate one, which is due at ``now + 2``."""
    delayed = messages.delay(CLIENT, request(message_id, token), now)
    messages.datagrams(now + ACK_DELAY)
    respond(messages, delayed, now + 2.0)


def test_a_reply_to_a_con_is_piggybacked_on_its_acknowledgement() -> None:
    """With the message id and token of the request, and its options (RFC 7252 §5.2.1)."""
    reply = layer().reply(request(), Code.CONTENT, b"hello", ((12, b"\x28"),))

    assert decode(reply) == CoapMessage(Type.ACK, Code.CONTENT, 7, b"t", ((12, b"\x28"),), b"hello")


def test_replies_to_nons_are_nons_whose_message_ids_go_round() -> None:
    """The ids are the server's, 16 bits (RFC 7252 §4.4)."""
    messages: MessageLayer[Sender] = MessageLayer(spread=lambda _, high: high)
    replies = [decode(messages.reply(request(kind=Type.NON), Code.CREATED, b"")) for _ in range(2)]

    assert [(reply.type, reply.message_id, reply.token) for reply in replies] == [
        (Type.NON, 0xFFFF, b"t"),
        (Type.NON, 0, b"t"),
    ]


def test_nothing_of_a_request_that_is_answered_at_once_is_kept() -> None:
    """No entry, no timer."""
    messages = layer()
    messages.reply(request(), Code.CREATED, b"")

    assert (len(messages), messages.deadline()) == (0, None)


def test_a_response_within_the_delay_is_piggybacked() -> None:
    """And no empty acknowledgement follows."""
    messages = layer()
    delayed = messages.delay(CLIENT, request(), 0.0)
    reply = respond(messages, delayed, 0.9)

    assert reply is not None
    assert decode(reply) == CoapMessage(Type.ACK, Code.CREATED, 7, b"t")
    assert (len(messages), messages.deadline(), messages.datagrams(9.0)) == (0, None, [])


def test_a_response_after_the_delay_follows_an_empty_acknowledgement() -> None:
    """A confirmable message with the token (RFC 7252 §5.2.2): else its client would repeat the request."""
    messages = layer()
    delayed = messages.delay(CLIENT, request(), 0.0)
    before = (messages.deadline(), sent(messages, 0.9))
    acknowledgements = messages.datagrams(1.0)
    at_once = respond(messages, delayed, 5.0)
    response = sent(messages, 5.0)
    settled = messages.settle("a", 0, 5.1)

    assert before == (1.0, [])
    assert [(decode(each.octets), each.is_ack) for each in acknowledgements] == [(CoapMessage(Type.ACK, 0, 7), True)]
    assert at_once is None
    assert response == [CoapMessage(Type.CON, Code.CREATED, 0, b"t")]
    assert settled
    assert (len(messages), messages.deadline()) == (0, None)


def test_a_delayed_response_to_a_non_is_a_non() -> None:
    """It needs no acknowledgement, and gets none."""
    messages = layer()
    delayed = messages.delay(CLIENT, request(kind=Type.NON), 0.0)
    waiting = messages.deadline()
    reply = respond(messages, delayed, 5.0)

    assert waiting is None
    assert reply is not None
    assert decode(reply) == CoapMessage(Type.NON, Code.CREATED, 0, b"t")
    assert len(messages) == 0


def test_an_unacknowledged_response_is_sent_five_times_and_given_up_after_93_seconds() -> None:
    """MAX_RETRANSMIT 4, doubled timeouts, MAX_TRANSMIT_WAIT (RFC 7252 §4.2, §4.8.2)."""
    messages: MessageLayer[Sender] = MessageLayer(spread=lambda _, high: high)
    separate(messages)
    times, octets, last = [], set(), 0.0
    while (deadline := messages.deadline()) is not None:
        due = messages.datagrams(deadline)
        times += [deadline - 2.0 for _ in due]
        octets |= {each.octets for each in due}
        last = deadline - 2.0

    assert times == [0.0, 3.0, 9.0, 21.0, 45.0]
    assert len(octets) == 1
    assert (last, len(messages)) == (93.0, 0)


@pytest.mark.parametrize(("address", "message_id", "settled"), [("a", 0, True), ("b", 0, False), ("a", 1, False)])
def test_an_acknowledgement_settles_the_response_with_its_address_and_message_id(
    address: str, message_id: int, settled: bool
) -> None:
    """Any other belongs to nothing."""
    messages = layer()
    separate(messages)
    messages.datagrams(2.0)

    assert messages.settle(address, message_id, 2.1) is settled
    assert len(messages) == (0 if settled else 1)


def test_a_client_has_one_separate_response_under_way() -> None:
    """NSTART is 1: the next one is sent when the first is acknowledged (RFC 7252 §4.7)."""
    messages = layer()
    separate(messages, token=b"1")
    separate(messages, token=b"2", message_id=8)
    first = sent(messages, 2.0)
    early = messages.settle("a", 1, 2.1)
    messages.settle("a", 0, 2.2)
    second = sent(messages, 2.2)

    assert [each.token for each in first] == [b"1"]
    assert not early
    assert [each.token for each in second] == [b"2"]


def test_a_new_request_with_the_token_of_a_delayed_one_replaces_it() -> None:
    """Its client has given it up, and would take the response for one to the new request."""
    messages = layer()
    delayed = messages.delay(CLIENT, request(), 0.0)
    other = messages.delay(Sender("b"), request(), 0.0)
    messages.renew(CLIENT, b"t")

    assert (delayed.stage, other.stage) == (Stage.CLOSED, Stage.UNACKNOWLEDGED)
    assert respond(messages, delayed, 0.5) is None
    assert [each.peer.address for each in messages.datagrams(1.0)] == ["b"]


def test_a_forgotten_address_gets_nothing_more() -> None:
    """Neither acknowledgements nor responses nor their retransmissions."""
    messages = layer()
    separate(messages, token=b"1")
    separate(messages, token=b"2", message_id=8)
    delayed = messages.delay(CLIENT, request(9, b"3"), 2.0)
    messages.forget("a")
    respond(messages, delayed, 2.5)

    assert (messages.datagrams(99.0), len(messages), messages.deadline()) == ([], 0, None)


def test_open_requests_and_responses_are_bounded() -> None:
    """The oldest is given up; the next response to its address is due."""
    messages = layer(limit=2)
    separate(messages, token=b"1")
    separate(messages, token=b"2", message_id=8)
    first = sent(messages, 2.0)
    messages.delay(Sender("b"), request(), 3.0)

    assert [each.token for each in first] == [b"1"]
    assert len(messages) == 2
    assert [each.token for each in sent(messages, 3.0)] == [b"2"]


def test_addresses_are_compared_as_values_of_their_own() -> None:
    """Two sessions at the same place are two clients (RFC 7252 §9.1.2)."""
    messages = layer()
    one, two = object(), object()
    first, second = (messages.delay(Sender(each), request(), 0.0) for each in (one, two))

    assert [each.peer.address for each in messages.datagrams(1.0)] == [one, two]
    assert first.stage is second.stage is Stage.ACKNOWLEDGED


def test_a_move_that_the_table_does_not_have_is_a_defect() -> None:
    """A closed request stays closed."""
    delayed = Delayed(CLIENT, request())
    delayed.move(Stage.CLOSED)

    with pytest.raises(AssertionError, match="no move"):
        delayed.move(Stage.SENT)
