"""Replies on an event loop: the timer and the tasks of the message layer."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from pathlib import Path

import pytest
import structlog.testing

from span_events.clock import SystemClock
from span_events.config import CoapConfig, MessagesConfig
from span_events.fleet.devices.devices import DeviceChange
from span_events.listeners.coap.answer import Answer
from span_events.listeners.coap.coap import Coap
from span_events.listeners.coap.exchanges import Exchange
from span_events.listeners.coap.peer import Peer
from span_events.listeners.coap.replies import Replies
from span_events.registry.model import Collection, Device
from span_events.wire.coap.messages import CoapMessage, Code, Type, decode
from tests.bench.fleets import CAUSE, fleet_bench
from tests.bench.nodes import slow_claims
from tests.bench.waiting import until
from tests.listeners.coap.bench import CoapBench, post

DEVICE = Device(1, Collection(2))
CREATED = Answer(Code.CREATED)


class Wire:
    """Replies that append their datagrams to a list."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, object]] = []
        self.replies = Replies(clock=SystemClock(), send=lambda *sent: self.sent.append(sent), sent=lambda *_: None)

    @property
    def messages(self) -> list[CoapMessage]:
        """The datagrams that were sent."""
        return [decode(octets) for octets, _ in self.sent]


def peer(kind: Type = Type.CON, address: object = "a") -> Peer:
    """Create a request with an exchange."""
    request = CoapMessage(kind, Code.POST, 7, b"tk", (), b"photo")
    return Peer(address, ("192.0.2.1", 5683), DEVICE, request, Exchange(0, b"", 0.0))


async def test_an_answer_that_is_ready_is_sent_at_once() -> None:
    """No task, no timer; a CON's exchange remembers it, a NON's does not."""
    wire = Wire()
    tasks = asyncio.all_tasks()
    con, non = peer(), peer(Type.NON)
    for each in (con, non):
        wire.replies.answer(each, Answer(Code.CONTENT, b"hello", ((12, b"\x28"),)))

    assert wire.messages[0] == CoapMessage(Type.ACK, Code.CONTENT, 7, b"tk", ((12, b"\x28"),), b"hello")
    assert [address for _, address in wire.sent] == ["a", "a"]
    assert con.exchange is not None
    assert non.exchange is not None
    assert (con.exchange.reply, non.exchange.reply) == (wire.sent[0][0], None)
    assert asyncio.all_tasks() == tasks


async def test_a_delayed_answer_follows_an_empty_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the request gets the empty ACK again; the client's ACK ends the retransmission."""
    monkeypatch.setattr("span_events.wire.coap.engine.ACK_DELAY", 0.01)
    wire, slow = Wire(), peer()
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    wire.replies.answer_later(slow, answer)
    before = list(wire.sent)
    await until(lambda: bool(wire.sent))
    answer.set_result(CREATED)
    await until(lambda: len(wire.sent) == 2)
    ack, response = wire.messages
    acknowledgement = CoapMessage(Type.ACK, Code.EMPTY, response.message_id)
    settled = [wire.replies.settle(acknowledgement, "a") for _ in range(2)]
    await wire.replies.close()

    assert before == []
    assert (ack.type, ack.code, ack.message_id, ack.token) == (Type.ACK, Code.EMPTY, 7, b"")
    assert (response.type, response.code, response.token) == (Type.CON, Code.CREATED, b"tk")
    assert slow.exchange is not None
    assert slow.exchange.reply == wire.sent[0][0]
    assert settled == [True, False]


async def test_an_answer_that_never_comes_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the server's stop, nothing is sent."""
    monkeypatch.setattr("span_events.wire.coap.engine.ACK_DELAY", 0.0)
    wire = Wire()
    never: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    wire.replies.answer_later(peer(), never)
    await wire.replies.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert wire.sent == []


async def test_a_defect_of_the_server_is_answered_counted_and_logged_once(
    coap: CoapBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5.00, and the next request is served."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("defect")

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as lines:
        patch.setattr(coap.fleet.reception, "received", fail)
        replies = [await coap.client.exchange(post(b"x", message_id=number)) for number in range(3)]
    healthy = await coap.client.exchange(post(b"x", message_id=9))

    assert [reply.code for reply in replies] == [Code.INTERNAL_SERVER_ERROR] * 3
    assert healthy.code == Code.CREATED
    assert coap.listener.defects == 3
    assert [line["event"] for line in lines] == ["request_defect"]


async def test_a_stopped_listener_leaves_nothing_behind(tmp_path: Path) -> None:
    """After several starts and stops, no socket is open (the warning of an open socket would fail the test)."""
    async with fleet_bench(tmp_path) as fleet:
        for _ in range(3):
            listener = Coap(
                CoapConfig(port=0), MessagesConfig(), reception=fleet.reception, outbox=fleet.outbox, clock=fleet.clock
            )
            await listener.start()
            await listener.stop()
    gc.collect()


async def test_a_late_answer_that_the_client_does_not_want_is_an_empty_ack() -> None:
    """No-Response (RFC 7967): the CON is acknowledged, a NON gets nothing."""
    wire = Wire()
    for kind in (Type.CON, Type.NON):
        waiting = peer(kind)
        request = replace(waiting.request, options=((258, b"\x02"),))
        ready = asyncio.get_running_loop().create_future()
        wire.replies.answer_later(Peer("a", waiting.remote, DEVICE, request, waiting.exchange), ready)
        ready.set_result(Answer(Code.CHANGED, b"stored"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await wire.replies.close()

    assert wire.messages == [CoapMessage(Type.ACK, Code.EMPTY, 7)]


async def test_a_message_in_a_separate_response_is_sent_once(coap: CoapBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of several nodes claims it in PostgreSQL first, which may take longer than an ACK may."""
    monkeypatch.setattr("span_events.wire.coap.engine.ACK_DELAY", 0.0)
    message = await coap.fleet.outbox.queue(coap.device, b"on", cause=CAUSE)
    with slow_claims(coap.fleet) as claims:
        ack = await coap.client.exchange(post(code=Code.GET))
        await claims.answer(message)
        response = decode(await coap.client.receive())
        again = await coap.client.exchange(post(code=Code.GET, message_id=2, token=b"u"))

    assert (ack.type, ack.code) == (Type.ACK, Code.EMPTY)
    assert (response.type, response.payload) == (Type.CON, b"on")
    assert (again.code, again.payload) == (Code.CONTENT, b"")
    assert "downstreamMessage" in coap.fleet.names


async def test_a_message_that_is_claimed_after_its_device_was_disabled_is_in_no_response(coap: CoapBench) -> None:
    """The poll is answered without it."""
    message = await coap.fleet.outbox.queue(coap.device, b"on", cause=CAUSE)
    with slow_claims(coap.fleet) as claims:
        coap.client.send(post(code=Code.GET, kind=Type.NON))
        await claims.asked(message)
        await coap.fleet.devices.update(coap.device, DeviceChange(enabled=False), cause=CAUSE)
        await claims.answer(message)
        reply = decode(await coap.client.receive())

    assert reply.payload == b""
    assert coap.fleet.outbox.next_for(coap.device) is message
