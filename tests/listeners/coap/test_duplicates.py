"""Duplicate requests (F23)."""

from __future__ import annotations

from pathlib import Path

from span_events.ids import render
from span_events.listeners.coap.exchanges import Exchanges
from span_events.wire.coap.messages import Code, Type, decode
from tests.listeners.coap.bench import CoapBench, coap_bench, get, post


async def test_a_duplicate_con_gets_the_same_reply_and_adds_no_message(coap: CoapBench) -> None:
    """A retransmitted CON is answered from memory, the downstream message included (RFC 7252 §4.5)."""
    await coap.queue(b"lamp on")
    await coap.queue(b"lamp off")
    coap.client.send(post(b"hello"))
    first = await coap.client.receive()
    coap.fleet.clock.shift(2.5)
    coap.client.send(post(b"hello"))
    again = await coap.client.receive()

    assert first == again
    assert decode(first).payload == b"lamp on"
    assert coap.payloads == [b"hello"]
    name, data = coap.fleet.published[-1]
    assert name == "messageDuplicate"
    assert data == {
        "count": "2",
        "messageId": render(coap.fleet.messages[0].id),
        "seconds": "2.5",
        "transport": "coap",
    }


async def test_a_duplicate_non_gets_no_reply(coap: CoapBench) -> None:
    """The duplicate is published nevertheless."""
    await coap.client.exchange(post(b"hello", kind=Type.NON))

    assert await coap.client.gets_no_answer(post(b"hello", kind=Type.NON))
    assert coap.fleet.names[-1] == "messageDuplicate"
    assert coap.listener.endpoint.duplicates == 1


async def test_a_duplicate_poll_gets_the_same_message(coap: CoapBench) -> None:
    """Else a lost acknowledgement would lose a message."""
    await coap.queue(b"first")
    await coap.queue(b"second")

    replies = [await coap.client.exchange(get()) for _ in range(2)]

    assert [reply.payload for reply in replies] == [b"first", b"first"]


async def test_other_octets_under_the_same_message_id_are_a_new_message(coap: CoapBench) -> None:
    """A rebooted device begins with the same message ids; it must not get replies from before the reboot."""
    replies = [await coap.client.exchange(post(b"x", token=token)) for token in (b"old", b"new")]

    assert [reply.token for reply in replies] == [b"old", b"new"]
    assert coap.payloads == [b"x", b"x"]


async def test_the_first_message_after_a_reboot_is_accepted_though_it_equals_an_earlier_one(coap: CoapBench) -> None:
    """After another request it is no duplicate: a client has one request under way (NSTART, RFC 7252 §4.7)."""
    story = [post(b"boot", message_id=0, token=b""), post(b"21.5", message_id=1, token=b"")]
    for datagram in story * 2:
        await coap.client.exchange(datagram)

    assert coap.payloads == [b"boot", b"21.5"] * 2
    assert "messageDuplicate" not in coap.fleet.names


async def test_two_requests_under_way_that_are_both_repeated_are_two_messages(coap: CoapBench) -> None:
    """F59: each has a token of its own (RFC 7252 §5.3.1), so the second one does not end the first."""
    first, second = post(b"A", message_id=1, token=b"\xa1"), post(b"B", message_id=2, token=b"\xb1")
    replies = [await coap.client.exchange(each) for each in (first, second, first, second)]

    assert replies[:2] == replies[2:]
    assert coap.payloads == [b"A", b"B"]
    assert coap.fleet.names.count("messageDuplicate") == 2


async def test_a_request_with_the_token_of_an_earlier_one_ends_it(coap: CoapBench) -> None:
    """Else a device with one token for all requests would lose messages after a reboot."""
    for datagram in [post(b"boot", message_id=0), post(b"21.5", message_id=1)] * 2:
        await coap.client.exchange(datagram)

    assert coap.payloads == [b"boot", b"21.5"] * 2


async def test_an_earlier_request_is_a_duplicate_only_while_its_client_repeats_it(coap: CoapBench) -> None:
    """MAX_TRANSMIT_SPAN is 45 s; the last request counts for the lifetime of an exchange."""
    first, second = post(b"A", message_id=1, token=b"\xa1"), post(b"B", message_id=2, token=b"\xb1")
    for datagram in (first, second):
        await coap.client.exchange(datagram)
    coap.fleet.clock.shift(46.0)
    await coap.client.exchange(second)
    await coap.client.exchange(first)

    assert coap.payloads == [b"A", b"B", b"A"]


async def test_the_last_three_requests_of_a_peer_are_remembered(coap: CoapBench) -> None:
    """A fourth one under way evicts the first."""
    story = [post(b"%d" % number, message_id=number, token=b"%d" % number) for number in range(4)]
    for datagram in (*story, story[1], story[0]):
        await coap.client.exchange(datagram)

    assert coap.payloads == [b"0", b"1", b"2", b"3", b"0"]


async def test_a_request_from_another_port_leaves_a_copy_a_duplicate(coap: CoapBench) -> None:
    """Only requests from the same address and port count."""
    first = await coap.client.exchange(post(b"x"))
    await coap.client_at("127.0.0.1").exchange(post(b"y"))
    again = await coap.client.exchange(post(b"x"))

    assert first == again
    assert coap.payloads == [b"x", b"y"]


async def test_a_poll_after_a_reboot_gets_the_next_message(coap: CoapBench) -> None:
    """The message delivered before the reboot is not repeated."""
    await coap.queue(b"first")
    await coap.queue(b"second")
    replies = [
        await coap.client.exchange(each) for each in (get(message_id=0), post(b"x", message_id=1), get(message_id=0))
    ]

    assert [reply.payload for reply in replies] == [b"first", b"second", b""]


async def test_the_same_octets_from_another_port_are_a_new_message(coap: CoapBench) -> None:
    """Message ids belong to an endpoint, that is, to address and port."""
    await coap.client.exchange(post(b"x"))
    await coap.client_at("127.0.0.1").exchange(post(b"x"))

    assert coap.payloads == [b"x", b"x"]


async def test_after_its_lifetime_an_exchange_is_forgotten(coap: CoapBench) -> None:
    """After EXCHANGE_LIFETIME, no copy can be in flight (RFC 7252 §4.8.2)."""
    for _ in range(2):
        await coap.client.exchange(post(b"x"))
        coap.fleet.clock.shift(246.0)
        await coap.client.exchange(post(b"x"))
        coap.fleet.clock.shift(1.0)

    assert coap.payloads == [b"x", b"x"]
    assert coap.listener.endpoint.remembered_exchanges == 1


async def test_the_number_of_remembered_exchanges_is_bounded(tmp_path: Path) -> None:
    """The oldest exchange is evicted."""
    async with coap_bench(tmp_path, coap={"remembered_exchanges": 3}) as coap:
        clients = [coap.client_at("127.0.0.1") for _ in range(5)]
        for number, client in enumerate(clients):
            await client.exchange(post(b"%d" % number))
        assert coap.listener.endpoint.remembered_exchanges == 3
        await clients[4].exchange(post(b"4"))
        await clients[0].exchange(post(b"0"))

        assert coap.payloads == [b"0", b"1", b"2", b"3", b"4", b"0"]


async def test_the_rejection_of_an_option_is_repeated_from_memory(coap: CoapBench) -> None:
    """The rejection is published once."""
    datagram = post(b"x", options=((9, b""),))

    replies = [await coap.client.exchange(datagram) for _ in range(2)]

    assert [reply.code for reply in replies] == [Code.BAD_OPTION, Code.BAD_OPTION]
    assert coap.fleet.names == ["messageRejected", "messageDuplicate"]


def test_a_copy_is_a_duplicate_before_the_first_has_a_reply() -> None:
    """Until then, the exchange has no reply."""
    exchanges = Exchanges(limit=10, lifetime=10.0)

    first = exchanges.meet("a", b"octets", b"", 0.0)
    again = exchanges.meet("a", b"octets", b"", 1.0)

    assert first is again
    assert (again.count, again.reply) == (2, None)


async def test_copies_that_are_too_far_apart_for_a_retransmission_name_the_message_id(coap: CoapBench) -> None:
    """A device that wakes up every minute with message id 1, and sends the same value."""
    await coap.client.exchange(post(b"21.5"))
    coap.fleet.clock.shift(60.0)
    await coap.client.exchange(post(b"21.5"))
    (_, data) = coap.fleet.published[-1]

    assert (data["reason"], data["seconds"]) == ("sameMessageId", "60")
