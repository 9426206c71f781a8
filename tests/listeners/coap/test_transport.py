"""The canary for what we use of aiocoap without its promise: if this fails after an upgrade, read the glue."""

from __future__ import annotations

import asyncio
import gc
import inspect
from pathlib import Path

import aiocoap
import pytest
import structlog.testing
from aiocoap.messagemanager import MessageManager
from aiocoap.pipe import Pipe
from aiocoap.tokenmanager import TokenManager

from span_events.config import CoapConfig, MessagesConfig
from span_events.listeners.coap.coap import Coap
from span_events.listeners.coap.transport import CoapTransport, Peer, Site, response
from span_events.registry.model import Collection, Device
from span_events.wire.coap.messages import CoapMessage, Code, Type, decode
from tests.bench.fleets import fleet_bench
from tests.bench.waiting import until
from tests.listeners.coap.bench import CoapBench, post

DEVICE = Device(1, Collection(2))


class EchoSite:
    """Answers with what came."""

    def respond(self, pipe: Pipe) -> None:
        """Answer at once."""
        pipe.add_response(response(Code.CONTENT, pipe.request.payload, ((12, b"\x28"),)), is_last=True)


class SlowSite:
    """Keeps what came until it is told to answer."""

    def __init__(self) -> None:
        self.pipes: list[Pipe] = []

    def respond(self, pipe: Pipe) -> None:
        """Do not answer yet."""
        self.pipes.append(pipe)


class Wire:
    """A transport whose datagrams end up in a list."""

    def __init__(self, site: Site | None = None) -> None:
        self.sent: list[tuple[bytes, object]] = []
        self.transport = CoapTransport(site or EchoSite(), on_reply=lambda peer: None)

    def dispatch(self, message: CoapMessage, address: object = "a") -> None:
        """Let a message come in."""
        self.transport.dispatch(
            Peer(address, ("192.0.2.1", 5683), DEVICE, message, None, lambda *sent: self.sent.append(sent))
        )


def test_aiocoap_still_has_the_names_that_we_use() -> None:
    """The version is pinned; this says what to look at when the pin moves."""
    hook = inspect.getsource(aiocoap.Context._append_tokenmanaged_messagemanaged_transport)
    lines = [line.strip() for line in hook.splitlines()]

    assert "tman = TokenManager(self)" in lines
    assert "mman = MessageManager(tman)" in lines
    assert "mman.message_interface = transport" in lines
    assert "tman.token_interface = mman" in lines
    assert "self.request_interfaces.append(tman)" in lines
    for name in ("_deduplicate_message", "_store_response_for_duplicates", "_process_request", "_next_message_id"):
        assert callable(getattr(MessageManager, name))
    assert "self.context.render_to_pipe(pipe)" in inspect.getsource(TokenManager.process_request)


async def test_a_reply_is_sent_before_dispatch_returns() -> None:
    """No task, no timer: the site answers at once."""
    wire = Wire()
    tasks = asyncio.all_tasks()
    wire.dispatch(CoapMessage(Type.CON, Code.POST, 7, b"tk", (), b"hello"))

    ((datagram, address),) = wire.sent
    assert decode(datagram) == CoapMessage(Type.ACK, Code.CONTENT, 7, b"tk", ((12, b"\x28"),), b"hello")
    assert address == "a"
    assert asyncio.all_tasks() == tasks
    await wire.transport.shutdown()


async def test_nothing_of_a_request_is_kept() -> None:
    """The library's own tables stay empty, whatever the number of requests."""
    wire = Wire()
    for number in range(100):
        wire.dispatch(CoapMessage(Type.CON if number % 2 else Type.NON, Code.POST, number, b"", (), b"x"), number % 7)

    messages = wire.transport._messages
    tables = [
        messages._recent_messages,
        messages._active_exchanges,
        messages._backlogs,
        messages._piggyback_opportunities,
        messages.token_manager.incoming_requests,
        messages.token_manager.outgoing_requests,
    ]
    assert [len(table) for table in tables] == [0] * 6
    assert len(wire.sent) == 100
    await wire.transport.shutdown()


async def test_replies_go_to_the_session_that_asked() -> None:
    """An address is any hashable: two sessions at the same place are two peers."""
    wire = Wire()
    one, two = object(), object()
    for session in (one, two):
        wire.dispatch(CoapMessage(Type.CON, Code.POST, 7, b"tk"), session)

    assert [address for _, address in wire.sent] == [one, two]
    await wire.transport.shutdown()


async def test_a_failure_to_send_stays_with_the_peer() -> None:
    """Nothing may raise into aiocoap or the loop."""

    def refuse(datagram: bytes, address: object) -> None:
        raise ConnectionRefusedError

    wire = Wire()
    peer = Peer("a", ("192.0.2.1", 5683), DEVICE, CoapMessage(Type.CON, Code.POST, 7), None, refuse)
    wire.transport.dispatch(peer)

    assert isinstance(peer.failure, ConnectionRefusedError)
    await wire.transport.shutdown()


async def test_a_defect_of_ours_is_answered_counted_and_logged_once(
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
    """Started and stopped many times, no socket is left (an unclosed one is a warning, which fails)."""
    async with fleet_bench(tmp_path) as fleet:
        for _ in range(3):
            listener = Coap(
                CoapConfig(port=0), MessagesConfig(), reception=fleet.reception, outbox=fleet.outbox, clock=fleet.clock
            )
            await listener.start()
            await listener.stop()
    gc.collect()


async def test_an_answer_that_takes_its_time_follows_an_empty_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A separate response, confirmable and with the token (RFC 7252 §5.2.2): else its client would ask again."""
    monkeypatch.setattr("span_events.listeners.coap.transport._ACK_DELAY", 0.01)
    site = SlowSite()
    wire = Wire(site)
    wire.dispatch(CoapMessage(Type.CON, Code.POST, 7, b"t", (), b"photo"))
    before = list(wire.sent)
    await until(lambda: bool(wire.sent))
    site.pipes[0].add_response(response(Code.CREATED, b"", ()), is_last=True)
    ack, answer = [decode(octets) for octets, _ in wire.sent]
    own = Peer("a", ("192.0.2.1", 5683), DEVICE, CoapMessage(Type.ACK, 0, answer.message_id, b"", (), b""), None, print)
    awaited = wire.transport.awaits(own)
    wire.transport.dispatch(own)
    settled = not wire.transport.awaits(own)
    await wire.transport.shutdown()

    assert before == []
    assert (ack.type, ack.code, ack.message_id, ack.token) == (Type.ACK, Code.EMPTY, 7, b"")
    assert (answer.type, answer.code, answer.token) == (Type.CON, Code.CREATED, b"t")
    assert awaited
    assert settled


async def test_an_answer_that_never_comes_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server stops: nothing is sent any more."""
    monkeypatch.setattr("span_events.listeners.coap.transport._ACK_DELAY", 0.0)
    wire = Wire(SlowSite())
    wire.dispatch(CoapMessage(Type.CON, Code.POST, 7, b"t", (), b"photo"))
    await wire.transport.shutdown()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert wire.sent == []
