"""The client side of gRPC against the server side, and against an HTTP/2 server with odd answers."""

from __future__ import annotations

from collections.abc import Iterable

import h2.config
import h2.connection
import h2.events
import pytest

from span_events.simulator.gateways.grpc_call import End, GrpcCall
from span_events.wire.grpc.connections import HalfClosed, Message, Status, StreamOpened
from span_events.wire.grpc.server import GrpcServer

PATH = "/some.Service/Method"
OK = [(":status", "200"), ("content-type", "application/grpc")]


def make_call() -> GrpcCall:
    return GrpcCall(PATH, authority="localhost:1", agent="test/1")


def exchange(call: GrpcCall, server: GrpcServer) -> tuple[list[bytes], list[object]]:
    """Carry octets in both directions until both sides are idle; return messages and events."""
    messages: list[bytes] = []
    events: list[object] = []
    while up := call.take():
        events += server.feed(up)
        messages += call.feed(server.take())
    messages += call.feed(server.take())
    return messages, events


def accepted(*, max_message: int = 1000) -> tuple[GrpcCall, GrpcServer]:
    """Create a call that the server has accepted."""
    call, server = make_call(), GrpcServer(max_message=max_message, max_streams=1)
    exchange(call, server)
    server.answer(1)
    exchange(call, server)
    return call, server


class OddServer:
    """HTTP/2 without gRPC's rules."""

    def __init__(self, call: GrpcCall) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self._call = call
        self.h2.receive_data(call.take())

    def answer(self, headers: Iterable[tuple[str, str]], *, data: bytes = b"", end: bool = False) -> list[bytes]:
        """Answer the call; return the messages received by the client."""
        self.h2.send_headers(1, headers, end_stream=end)
        if data:
            self.h2.send_data(1, data)
        return self.flush()

    def flush(self) -> list[bytes]:
        return self._call.feed(self.h2.data_to_send())


def test_a_call_sends_its_path_and_user_agent() -> None:
    call, server = make_call(), GrpcServer(max_message=1000, max_streams=1)
    _, events = exchange(call, server)

    assert events == [StreamOpened(1, PATH, "test/1", None)]
    assert not call.is_accepted
    assert call.end is None


def test_messages_go_both_ways() -> None:
    call, server = accepted()
    call.send(b"up")
    server.send(1, b"down")
    messages, events = exchange(call, server)

    assert call.is_accepted
    assert messages == [b"down"]
    assert events == [Message(1, b"up")]


def test_messages_are_parsed_from_any_segmentation() -> None:
    call, server = accepted()
    for each in (b"one", b"", b"three" * 100):
        server.send(1, each)
    octets = server.take()
    messages = [message for octet in octets for message in call.feed(bytes((octet,)))]

    assert messages == [b"one", b"", b"three" * 100]


def test_octets_beyond_the_window_wait_for_it() -> None:
    """The initial window of HTTP/2 has 65,535 octets."""
    call, server = accepted(max_message=200_000)
    call.send(bytes(200_000))
    first = call.take()
    waiting = call.waiting
    server.feed(first)
    call.feed(server.take())
    _, events = exchange(call, server)

    assert waiting == 200_005 - 65_535
    assert call.waiting == 0
    assert events == [Message(1, bytes(200_000))]


def test_a_half_close_is_answered_with_a_status() -> None:
    call, server = accepted()
    call.half_close()
    _, events = exchange(call, server)
    server.end(1, Status.OK)
    exchange(call, server)

    assert events == [HalfClosed(1)]
    assert call.end == End(0, "")
    assert str(call.end) == "OK"


def test_a_refusal_has_a_text() -> None:
    """The text is percent-encoded on the wire."""
    call, server = make_call(), GrpcServer(max_message=1000, max_streams=1)
    exchange(call, server)
    server.end(1, Status.UNAUTHENTICATED, "100 % søt")
    exchange(call, server)

    assert not call.is_accepted
    assert str(call.end) == "UNAUTHENTICATED: 100 % søt"


def test_input_after_the_end_changes_nothing() -> None:
    """Errors of the connection after a status must not hide the status."""
    call, server = accepted()
    server.end(1, Status.ABORTED, "replaced")
    server.close()
    exchange(call, server)
    call.lose("the connection was closed")
    call.send(b"too late")
    call.half_close()

    assert call.end == End(Status.ABORTED, "replaced")
    assert call.feed(b"whatever") == []


def test_a_goaway_is_an_end() -> None:
    call, server = accepted()
    server.close()
    exchange(call, server)

    assert str(call.end) == "UNAVAILABLE: GOAWAY NO_ERROR"


def test_a_reset_is_an_end() -> None:
    call = make_call()
    odd = OddServer(call)
    odd.answer(OK)
    odd.h2.reset_stream(1, 11)
    odd.flush()

    assert str(call.end) == "UNAVAILABLE: RST_STREAM ENHANCE_YOUR_CALM"


@pytest.mark.parametrize(
    ("headers", "end", "words"),
    [
        ([(":status", "404")], True, "UNAVAILABLE: HTTP status 404"),
        (OK, True, "INTERNAL: the server ended the call without a status"),
        ([*OK, ("grpc-status", "999")], True, "status 999"),
        ([*OK, ("grpc-status", "x")], True, "INTERNAL: the server ended the call without a status"),
    ],
)
def test_odd_answers_are_ends(headers: list[tuple[str, str]], end: bool, words: str) -> None:
    call = make_call()
    OddServer(call).answer(headers, end=end)

    assert str(call.end) == words


@pytest.mark.parametrize("prefix", ["00ffffffff", "0100000001"], ids=["4 GiB", "compressed"])
def test_a_faulty_message_ends_the_call(prefix: str) -> None:
    """The call ends without waiting for the message."""
    call = make_call()
    messages = OddServer(call).answer(OK, data=b"\x00\x00\x00\x00\x01a" + bytes.fromhex(prefix))

    assert messages == [b"a"]
    assert call.end is not None
    assert call.end.name == "RESOURCE_EXHAUSTED"


def test_a_server_that_breaks_http2_is_an_end() -> None:
    """DATA on stream 0 is illegal."""
    call = make_call()
    call.feed(bytes(9))

    assert call.end is not None
    assert str(call.end).startswith("INTERNAL: the server broke HTTP/2")
