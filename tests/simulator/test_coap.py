"""The CoAP endpoint of a simulated device, against a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from span_events.simulator.coap import CoapClient, Timing
from span_events.wire.coap.messages import CoapMessage, Code, Type, decode, encode
from span_events.wire.coap.requests import path_of
from tests.bench.waiting import PATIENCE
from tests.simulator.responder import Responder, piggybacked

QUICK = Timing(ack_timeout=0.02)
"""The retransmission of RFC 7252, a hundred times faster."""


async def test_a_post_has_the_source_address_of_the_device() -> None:
    """The server identifies a device by its source address."""
    with Responder(piggybacked(payload=b"down")) as server, CoapClient("127.77.3.4", server.address) as client:
        reply = await client.post("a/b", b"up")

        datagram, remote = await server.next()

    request = decode(datagram)
    assert remote[0] == "127.77.3.4"
    assert (request.type, request.code, path_of(request), request.payload) == (Type.CON, Code.POST, "/a/b", b"up")
    assert reply is not None
    assert (reply.code, reply.token, reply.payload) == (Code.CREATED, request.token, b"down")


async def test_an_unanswered_con_is_retransmitted_unchanged() -> None:
    """Retransmissions have the same message id and token (RFC 7252 §4.2)."""
    answered = piggybacked()

    def third_time(datagram: bytes) -> Iterable[bytes]:
        return answered(datagram) if len(server.received) >= 3 else ()

    with Responder(third_time) as server, CoapClient("127.77.0.1", server.address, timing=QUICK) as client:
        reply = await client.post("x", b"up")

    assert reply is not None
    assert client.retransmissions >= 2  # more, if the answer is read late
    assert len({datagram for datagram, _ in server.received}) == 1


async def test_after_four_retransmissions_a_device_gives_up() -> None:
    """MAX_RETRANSMIT is 4, so there are five transmissions (RFC 7252 §4.8)."""
    with Responder() as server, CoapClient("127.77.0.1", server.address, timing=Timing(ack_timeout=0.002)) as client:
        reply = await client.post("x", b"up")

    assert reply is None
    assert len(server.received) == 5


async def test_each_request_has_a_message_id_and_a_token_of_its_own() -> None:
    with Responder(piggybacked()) as server, CoapClient("127.77.0.1", server.address) as client:
        await client.post("x", b"1")
        await client.post("x", b"2")

    first, second = (decode(datagram) for datagram, _ in server.received)
    assert second.message_id == (first.message_id + 1) % 65_536
    assert first.token != second.token


async def test_a_separate_response_is_acknowledged() -> None:
    """An empty ACK ends the retransmissions; the response follows as a CON (RFC 7252 §5.2.2)."""

    def separately(datagram: bytes) -> Iterable[bytes]:
        request = decode(datagram)
        if request.code == Code.POST:
            yield encode(CoapMessage(Type.ACK, Code.EMPTY, request.message_id))
            yield encode(CoapMessage(Type.CON, Code.CHANGED, 77, request.token))

    with Responder(separately) as server, CoapClient("127.77.0.1", server.address) as client:
        reply = await client.post("x", b"up")
        await server.next()
        acknowledgement, _ = await server.next()

    assert reply is not None
    assert reply.code == Code.CHANGED
    assert decode(acknowledgement) == CoapMessage(Type.ACK, Code.EMPTY, 77)


async def test_a_reset_ends_the_exchange() -> None:
    def reset(datagram: bytes) -> Iterable[bytes]:
        yield encode(CoapMessage(Type.RST, Code.EMPTY, decode(datagram).message_id))

    with Responder(reset) as server, CoapClient("127.77.0.1", server.address) as client:
        reply = await client.post("x", b"up")

    assert reply is None
    assert len(server.received) == 1


async def test_a_reply_to_another_request_is_ignored() -> None:
    """Message id and token must both match; malformed datagrams are ignored."""

    def wrong_then_right(datagram: bytes) -> Iterable[bytes]:
        request = decode(datagram)
        yield b"\xff"
        yield encode(CoapMessage(Type.ACK, Code.CREATED, request.message_id ^ 1, request.token, payload=b"id"))
        yield encode(CoapMessage(Type.ACK, Code.CREATED, request.message_id, b"x", payload=b"token"))
        yield encode(CoapMessage(Type.ACK, Code.CREATED, request.message_id, request.token, payload=b"right"))

    with Responder(wrong_then_right) as server, CoapClient("127.77.0.1", server.address) as client:
        reply = await client.post("x", b"up")

    assert reply is not None
    assert reply.payload == b"right"


async def test_closing_ends_an_exchange_without_a_reply() -> None:
    """A device that is switched off does not wait."""
    with Responder() as server:
        client = CoapClient("127.77.0.1", server.address, timing=Timing(ack_timeout=PATIENCE))
        exchange = asyncio.create_task(client.post("x", b"up"))
        await server.next()
        client.close()
        async with asyncio.timeout(PATIENCE):
            reply = await exchange

    assert reply is None
