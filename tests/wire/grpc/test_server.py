"""gRPC's server side against a client on h2, in memory."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from span_events.wire.grpc.connections import (
    Broken,
    Fault,
    GoneAway,
    GrpcEvent,
    HalfClosed,
    Message,
    MessageFault,
    NotGrpc,
    Status,
    StreamOpened,
    StreamReset,
    code_name,
)
from span_events.wire.grpc.server import GrpcServer
from tests.wire.grpc.client import PATH, GrpcClient

MAX = 1_000_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = bytes.fromhex("000000040000000000")


class Pair:
    """A client, a server, and the server's events."""

    def __init__(self, *, reads: bool = True, max_message: int = MAX) -> None:
        self.client = GrpcClient(reads=reads)
        self.server = GrpcServer(max_message=max_message, max_streams=2)
        self.events: list[GrpcEvent] = []
        self.carry(self.client.take())

    def carry(self, octets: bytes) -> Sequence[GrpcEvent]:
        """Carry octets to the server and answers back until both are idle; return the events of the first octets."""
        first = list(self.server.feed(octets))
        self.events += first
        octets = self.client.step(self.server.take())
        while octets:
            self.events += self.server.feed(octets)
            octets = self.client.step(self.server.take())
        return first

    def settle(self) -> None:
        """Carry the server's output to the client."""
        self.carry(self.client.step(self.server.take()))


def opened(*, reads: bool = True, max_message: int = MAX) -> Pair:
    pair = Pair(reads=reads, max_message=max_message)
    pair.carry(pair.client.open())
    pair.server.answer(1)
    pair.settle()
    pair.events.clear()
    return pair


# ---- calls -----------------------------------------------------------------------------------


def test_a_call_is_opened_and_answered_at_once() -> None:
    """Some clients wait for the answer before their first message."""
    pair = Pair()
    events = pair.carry(pair.client.open())
    pair.server.answer(1)
    pair.settle()

    assert events == [StreamOpened(1, PATH, "raw/1", None)]
    assert pair.client.headers == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity",
    }


@pytest.mark.parametrize("content", ["application/grpc", "application/grpc+proto", "application/grpc; charset=utf-8"])
def test_every_spelling_of_the_content_type_is_taken(content: str) -> None:
    pair = Pair()
    (event,) = pair.carry(pair.client.open(content=content))

    assert isinstance(event, StreamOpened)


@pytest.mark.parametrize(
    ("method", "content", "status", "detail"),
    [
        ("GET", "application/grpc", "405", "the method is not POST"),
        ("POST", "application/json", "415", "the content type is not application/grpc"),
        ("POST", "application/grpcweb", "415", "the content type is not application/grpc"),
    ],
)
def test_requests_without_grpc_are_answered_as_http(method: str, content: str, status: str, detail: str) -> None:
    """A browser, or a probe; a body that still comes is cut off, and costs nothing more."""
    pair = Pair()
    events = pair.carry(pair.client.open("/x", method=method, content=content))
    answered = (pair.client.headers, pair.client.text.decode(), pair.client.ended, pair.client.reset)
    pair.carry(pair.client.raw(b"the body"))

    assert events == [NotGrpc("/x", detail)]
    assert answered == ({":status": status, "content-type": "text/plain"}, detail, True, None)
    assert pair.client.reset == 0


def test_the_text_of_a_refusal_waits_for_the_window() -> None:
    """RFC 9113 §6.9.1."""
    pair = Pair(reads=False)
    pair.client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1})
    pair.carry(pair.client.take())
    pair.carry(pair.client.open("/x", method="GET", end=True))
    first = pair.client.text
    pair.client.h2.increment_flow_control_window(100, pair.client.stream)
    pair.carry(pair.client.take())

    assert (first, pair.client.text, pair.client.ended) == (b"t", b"the method is not POST", True)


def test_frames_about_a_request_that_has_ended_are_accepted() -> None:
    """WINDOW_UPDATE and PRIORITY on a half-closed (remote) stream (RFC 9113 §5.1)."""
    pair = Pair(reads=False)
    octets = pair.client.open("/x", method="GET", end=True)
    update, priority = "000004 08 00 00000001 00000064", "000005 02 00 00000001 0000000010"
    pair.carry(octets + bytes.fromhex(update) + bytes.fromhex(priority))

    assert (pair.client.text, pair.client.ended, pair.client.goaway) == (b"the method is not POST", True, None)


def test_a_window_above_its_limit_resets_the_stream() -> None:
    """FLOW_CONTROL_ERROR (RFC 9113 §6.9.1), also after the server has answered."""
    pair = Pair(reads=False)
    pair.carry(pair.client.open("/x", method="GET"))
    pair.carry(bytes.fromhex("000004 08 00 00000001 7fffffff"))

    assert pair.client.reset == 3


def test_more_streams_than_the_limit_are_refused() -> None:
    """RFC 9113 §5.1.2; an answered request without an end counts."""
    pair = Pair(reads=False)
    for _ in range(2):
        pair.carry(pair.client.open("/x", method="GET"))
    settings = pair.client.h2.remote_settings
    settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100
    settings.acknowledge()  # the client forgets the limit
    events = pair.carry(pair.client.open("/x", method="GET", end=True))

    assert isinstance(events[-1], Broken)
    assert pair.client.goaway is not None


@pytest.mark.parametrize("goodbye", ["reset", "goaway"])
def test_a_request_cancelled_at_once_does_no_harm(goodbye: str) -> None:
    """The request arrives with its end: h2 closes the stream before the server can answer."""
    pair = opened()
    client = pair.client
    octets = client.open("/x", method="GET")
    octets += client.give_up(8) if goodbye == "reset" else client.go_away(0)
    events = pair.carry(octets)

    assert events[0] == NotGrpc("/x", "the method is not POST")
    assert events[1:] == ([] if goodbye == "reset" else [GoneAway(0, "")])
    if goodbye == "reset":
        client.stream = 1
        assert pair.carry(client.send(b"on it goes")) == [Message(1, b"on it goes")]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600.0), ("90S", 90.0), ("250m", 0.25), ("5M", 300.0), ("10u", 1e-5), ("7n", 7e-9)],
)
def test_a_clients_deadline_is_read(text: str, seconds: float) -> None:
    pair = Pair()
    (event,) = pair.carry(pair.client.open(extra=[("grpc-timeout", text)]))

    assert isinstance(event, StreamOpened)
    assert event.timeout == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "10", "123456789S", "1.5S", "-1S"])
def test_a_malformed_deadline_is_ignored(text: str) -> None:
    pair = Pair()
    (event,) = pair.carry(pair.client.open(extra=[("grpc-timeout", text)]))

    assert isinstance(event, StreamOpened)
    assert event.timeout is None


def test_a_call_is_rejected_with_a_status() -> None:
    """Headers alone, and a reset without an error, like other servers; the text may have any character."""
    pair = Pair()
    pair.carry(pair.client.open())
    pair.server.end(1, Status.UNAUTHENTICATED, "certificate expired: 100 % of Tromsø\nnew line")
    pair.settle()

    assert pair.client.status == (16, "certificate expired: 100 % of Tromsø\nnew line")
    assert "%25 of Troms%C3%B8%0A" in pair.client.headers["grpc-message"]
    assert pair.client.reset == 0


def test_a_call_is_ended_by_trailers() -> None:
    """The trailers follow the messages."""
    pair = opened()
    pair.server.send(1, b"last")
    pair.settle()
    pair.server.end(1, Status.OK)
    pair.settle()

    assert (pair.client.messages, pair.client.trailers, pair.client.reset) == ([b"last"], {"grpc-status": "0"}, 0)


def test_after_a_half_close_no_reset_is_needed() -> None:
    pair = opened()
    assert pair.carry(pair.client.half_close()) == [HalfClosed(1)]
    pair.server.end(1, Status.OK)
    pair.settle()

    assert (pair.client.status, pair.client.reset) == ((0, ""), None)


def test_ending_twice_does_no_harm() -> None:
    pair = opened()
    pair.server.end(1, Status.OK)
    pair.server.end(1, Status.ABORTED)
    pair.server.send(1, b"too late")
    pair.server.answer(1)
    pair.settle()

    assert (pair.client.status, pair.client.messages) == ((0, ""), [])


def test_two_calls_do_not_disturb_each_other() -> None:
    pair = opened()
    events = pair.carry(pair.client.open("/other"))
    pair.server.end(3, Status.UNIMPLEMENTED, "unknown method")
    pair.settle()
    pair.client.stream = 1

    assert events == [StreamOpened(3, "/other", "raw/1", None)]
    assert pair.carry(pair.client.send(b"x")) == [Message(1, b"x")]


# ---- messages from the client ----------------------------------------------------------------


def test_messages_arrive_whole_and_in_order() -> None:
    """Several in a frame, one in several frames, empty ones."""
    pair = opened()
    sent = [b"a", b"", b"b" * 40_000, b"c"]
    pair.carry(pair.client.raw(b"".join(struct.pack("!BL", 0, len(each)) + each for each in sent)))

    assert pair.events == [Message(1, each) for each in sent]


@given(st.lists(st.binary(max_size=60), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_the_segmentation_of_octets_makes_no_difference(sent: list[bytes], cuts: list[int]) -> None:
    """The boundaries of frames and of reads are arbitrary."""
    pair = opened()
    octets = b"".join(struct.pack("!BL", 0, len(each)) + each for each in sent)
    at = number = 0
    while at < len(octets):
        size = cuts[number % len(cuts)]
        frame = pair.client.raw(octets[at : at + size])
        for begin in range(0, len(frame), size):
            pair.carry(frame[begin : begin + size])
        at += size
        number += 1

    assert pair.events == [Message(1, each) for each in sent]


def test_flow_control_windows_are_replenished() -> None:
    """A client may send more octets than one window."""
    pair = opened()
    for _ in range(20):
        pair.carry(pair.client.send(bytes(20_000)))

    assert len(pair.events) == 20


@pytest.mark.parametrize(
    ("flag", "length", "fault", "detail"),
    [
        (0, 0xFFFFFFFF, Fault.TOO_LARGE, f"a message of 4294967295 octets; the limit is {MAX}"),
        (0, MAX + 1, Fault.TOO_LARGE, f"a message of {MAX + 1} octets; the limit is {MAX}"),
        (1, 3, Fault.COMPRESSED, "a message is compressed"),
        (255, 3, Fault.MALFORMED, "the octet before a message's length is 255"),
    ],
)
def test_a_faulty_message_is_detected_by_its_prefix(flag: int, length: int, fault: Fault, detail: str) -> None:
    """The message and all later ones are ignored; the connection continues."""
    pair = opened()
    events = pair.carry(pair.client.send(b"abc", flag=flag, length=length))
    more = pair.carry(pair.client.send(b"x" * 10_000))
    pair.server.end(1, Status.RESOURCE_EXHAUSTED, "no")
    pair.settle()

    assert events == [MessageFault(1, fault, detail)]
    assert more == []
    assert pair.client.status == (8, "no")
    pair.carry(pair.client.open())
    assert isinstance(pair.events[-1], StreamOpened)


def test_a_message_of_exactly_the_limit_is_accepted() -> None:
    pair = opened(max_message=3)

    assert pair.carry(pair.client.send(b"abc")) == [Message(1, b"abc")]


def test_a_truncated_message_is_no_half_close() -> None:
    """Some libraries confuse the two."""
    pair = opened()
    pair.carry(pair.client.send(b"abc", length=16))

    assert pair.carry(pair.client.half_close()) == [
        MessageFault(1, Fault.TRUNCATED, "the stream ended after 8 octets of a message")
    ]


# ---- messages to the client ------------------------------------------------------------------


def test_messages_are_joined_into_few_frames() -> None:
    """A frame costs more than a message."""
    pair = opened()
    for number in range(100):
        pair.server.send(1, b"%d" % number)
    octets = pair.server.take()

    assert octets[:4] == b"\x00\x02\xb2\x00"  # one DATA frame of 690 octets
    assert len(octets) == 9 + 690
    pair.client.step(octets)
    assert pair.client.messages == [b"%d" % number for number in range(100)]


def test_octets_beyond_the_window_wait() -> None:
    """A client that does not read gets 65,535 octets, and the rest after reading."""
    pair = opened(reads=False)
    pair.server.send(1, bytes(100_000))
    pair.settle()
    waiting = pair.server.waiting(1)
    pair.client.h2.increment_flow_control_window(50_000)
    pair.client.h2.increment_flow_control_window(50_000, 1)
    pair.carry(pair.client.take())

    assert waiting == 100_005 - 65_535
    assert (pair.server.waiting(1), pair.client.messages) == (0, [bytes(100_000)])


def test_a_negative_window_stops_sending() -> None:
    """SETTINGS_INITIAL_WINDOW_SIZE can make a window negative (RFC 9113 §6.9.2)."""
    pair = opened(reads=False)
    pair.server.send(1, bytes(60_000))
    pair.settle()
    pair.client.h2.update_settings({4: 1_000})
    pair.carry(pair.client.take())
    pair.server.send(1, b"x")
    pair.settle()

    assert pair.server.waiting(1) == 6


# ---- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [8, 2, 4711])
def test_a_reset_has_its_code(code: int) -> None:
    """CANCEL, INTERNAL_ERROR, and an unknown code."""
    pair = opened()

    assert pair.carry(pair.client.give_up(code)) == [StreamReset(1, code, by_client=True)]


def test_a_goaway_has_its_code_and_text() -> None:
    """Nothing can be sent after it."""
    pair = opened()
    events = pair.carry(pair.client.go_away(11, b"too many pings"))
    pair.server.send(1, b"x")
    pair.server.end(1, Status.OK)
    pair.server.ping()
    pair.server.close()

    assert events == [GoneAway(11, "too many pings")]
    assert pair.server.take() == b""
    assert pair.server.feed(b"whatever") == ()


def test_frames_after_a_goaway_are_ignored() -> None:
    """The frames may come in the same read, or in pieces."""
    pair, ping = opened(), bytes.fromhex("000008060000000000") + bytes(8)
    goaway = pair.client.go_away(0)

    assert pair.server.feed(goaway[:12]) == []
    assert pair.server.feed(goaway[12:] + ping) == [GoneAway(0, "")]


def test_the_servers_goaway_comes_after_the_trailers() -> None:
    """In another order, h2 sends no trailers."""
    pair = opened()
    pair.server.end(1, Status.UNAVAILABLE, "server shutting down")
    pair.server.close()
    pair.settle()

    assert (pair.client.status, pair.client.goaway) == ((14, "server shutting down"), 0)


def test_a_ping_is_answered_by_the_clients_library() -> None:
    pair = opened()
    pair.server.ping()
    pair.settle()

    assert pair.client.pings == 1


# ---- violations of HTTP/2 --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "detail"),
    [
        ("ffffff000000000001", "a frame of 16777215 octets; the limit is 16384"),
        ("004001000000000001", "a frame of 16385 octets; the limit is 16384"),
        ("000003000000000000010203", ""),
        ("000001060000000000aa", ""),
    ],
)
def test_a_frame_that_breaks_http2_ends_the_connection(frame: str, detail: str) -> None:
    """An excessive length, detected in the frame header; DATA on stream 0; a short PING."""
    pair = opened()
    (event,) = pair.server.feed(bytes.fromhex(frame))

    assert isinstance(event, Broken)
    assert event.detail == detail or (not detail and event.detail)
    pair.client.step(pair.server.take())
    assert pair.client.goaway


def test_a_frame_header_may_come_in_pieces() -> None:
    """The guard continues its count."""
    pair = opened()
    octets = bytes.fromhex("000004420000000000") + bytes(4) + bytes.fromhex("ffffff00")
    events = [event for at in range(len(octets)) for event in pair.server.feed(octets[at : at + 1])]

    assert events == []
    (event,) = pair.server.feed(bytes(5))
    assert isinstance(event, Broken)


def test_headers_without_end_are_refused_before_they_are_joined() -> None:
    """CONTINUATION after CONTINUATION."""
    pair = Pair()
    begin = (16_000).to_bytes(3, "big") + b"\x01\x00\x00\x00\x00\x01" + bytes(16_000)
    go_on = (16_000).to_bytes(3, "big") + b"\x09\x00\x00\x00\x00\x01" + bytes(16_000)

    assert pair.server.feed(begin + go_on) == []
    (event,) = pair.server.feed(go_on)
    assert event == Broken("headers of 48000 octets; the limit is 32768")


def test_headers_that_decompress_beyond_the_limit_are_refused() -> None:
    """A small block may decompress to a large one (HPACK bomb)."""
    pair = Pair()
    (event,) = pair.carry(pair.client.open(extra=[("a" * 20, "b" * 3_900), *[("c", "d" * 500)] * 30]))

    assert isinstance(event, Broken)


def test_an_unknown_kind_of_frame_is_ignored() -> None:
    """RFC 9113 §5.5."""
    pair = opened()

    assert pair.carry(bytes.fromhex("000004420000000000") + bytes(4)) == []
    assert pair.carry(pair.client.send(b"x")) == [Message(1, b"x")]


def test_a_third_simultaneous_call_breaks_the_limit() -> None:
    """max_streams is 2."""
    pair = opened()
    pair.carry(pair.client.open())
    pair.client.h2.remote_settings[3] = 100
    pair.client.h2.remote_settings.acknowledge()
    (event,) = pair.carry(pair.client.open())

    assert isinstance(event, Broken)


def test_octets_other_than_http2_raise_no_exception() -> None:
    server = GrpcServer(max_message=MAX, max_streams=2)
    (event,) = server.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert isinstance(event, Broken)


def test_codes_have_names() -> None:
    assert (code_name(8), code_name(4711)) == ("CANCEL", "4711")
