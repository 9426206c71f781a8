"""gRPC's server side: calls, and their ends."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes

from span_events.wire.grpc.connections import (
    Broken,
    GoneAway,
    HalfClosed,
    Message,
    NotGrpc,
    Status,
    StreamOpened,
    StreamReset,
)
from tests.wire.grpc.client import PATH
from tests.wire.grpc.pair import Pair, opened


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
