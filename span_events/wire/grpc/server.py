"""
Server side of one gRPC connection over HTTP/2, without I/O, for any service.

h2 implements HTTP/2. This module adds messages and statuses, and bounds the input that h2 would buffer
without a limit.
(PROTOCOL-HTTP2 of gRPC: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)
"""

from __future__ import annotations

import base64
import contextlib
import re
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

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
)
from span_events.wire.grpc.http2_guard import MAX_FRAME, FrameGuard

_PREFIX: Final = struct.Struct("!BL")
"""Prefix of each message: compressed flag and length."""
_MAX_HEADER_LIST: Final = 16_384
"""Largest headers of a request, octets as HTTP/2 counts them (RFC 9113 §10.5.1)."""
_CONTENT: Final = (b"content-type", b"application/grpc")
_TEXT: Final = (b"content-type", b"text/plain")
_ANSWER: Final = ((b":status", b"200"), _CONTENT, (b"grpc-accept-encoding", b"identity"))
_PRINTABLE: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Characters without percent-encoding in grpc-message, besides letters and digits."""
_USEFUL: Final = 11
"""Octets of a message that says something; a keepalive has 2."""
_WORTH: Final = 4
"""Frames and messages without content that a useful message outweighs: libraries may split it into two frames."""
_CONTENT_WORTH: Final = 1_024
"""Octets of data that outweigh one frame."""
_NO_MORE_CALLS: Final = struct.pack("!HBBBLLL", 0, 8, 7, 0, 0, (1 << 31) - 1, ErrorCodes.NO_ERROR)
"""GOAWAY: 8 octets, type 7, no flags, stream 0; no call is too late to be served."""
ANSWERS: Final = 3
"""Frames with which a client may answer one: libraries ping to measure, and open the windows of call and connection."""
_TEXT_SHOWN: Final = 1_000
_AGENT_SHOWN: Final = 128
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final = MappingProxyType({b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9})


def message_frame(payload: bytes) -> bytes:
    """Return a message with the prefix of gRPC."""
    return _PREFIX.pack(0, len(payload)) + payload


class _Stream:
    __slots__ = ("answered", "half_closed", "is_deaf", "is_refused", "needed", "outgoing", "rest")

    def __init__(self) -> None:
        self.rest = bytearray()
        """Beginning of an incomplete message."""
        self.needed = 0
        """Octets of `rest` needed before parsing it again."""
        self.outgoing = bytearray()
        """Octets that wait for the client's window."""
        self.answered = False
        self.half_closed = False
        self.is_deaf = False
        self.is_refused = False
        """True for a request without gRPC: its answer is short text."""


class GrpcServer:
    """
    One connection; after `GoneAway` or `Broken`, only `take` has an effect.

    Args:
        max_message: Largest message, octets.
        max_streams: Largest number of calls at the same time.
    """

    def __init__(self, *, max_message: int, max_streams: int) -> None:
        self._max_message = max_message
        self._guard = FrameGuard()
        self._streams: dict[int, _Stream] = {}
        self._waiting: dict[int, _Stream] = {}  # streams with octets to send, in the order of their first
        self._is_over = False
        self._unread = b""
        self._messages_cost = 0
        self.sent = 0
        """Frames with data sent so far: a client's library may answer each, see `ANSWERS`."""
        self._notice = b""  # a frame that h2 cannot write without ending the connection
        self._h2 = connection = h2.connection.H2Connection(_CONFIG)
        connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_LIST,
            },
        )
        connection.decoder.max_header_list_size = _MAX_HEADER_LIST
        connection.initiate_connection()

    # ---- input --------------------------------------------------------------------------------

    @property
    def has_unread(self) -> bool:
        """True if frames wait for the next call of `feed`."""
        return bool(self._unread)

    @property
    def cost(self) -> int:
        """Frames and messages so far, less those that content outweighs: each takes about the same time."""
        return self._guard.cost + self._messages_cost

    def feed(self, octets: bytes, frames: int = sys.maxsize) -> Sequence[GrpcEvent]:
        """
        Parse received octets; return the events.

        Args:
            frames: Largest number of frames to parse; the others wait for the next call.
        """
        if self._is_over:
            return ()
        if self._unread:
            octets = self._unread + octets
            self._unread = b""
        if not frames:
            self._unread = octets
            return ()
        events: list[GrpcEvent] = []
        taken: dict[int, int] = {}
        count, flaw = self._guard.look(octets, frames)
        if count != len(octets):
            octets, self._unread = octets[:count], octets[count:]
        try:
            for each in self._h2.receive_data(octets):
                handle = _HANDLERS.get(type(each))
                if handle is not None:
                    handle(self, each, events, taken)
        except ProtocolError as exc:  # h2 has queued a GOAWAY for the client
            self._forget()
            flaw = str(exc) or type(exc).__name__
        if flaw is not None:
            self.close(ErrorCodes.FRAME_SIZE_ERROR)
            events.append(Broken(flaw))
            taken.clear()
        for stream, size in taken.items():
            self._h2.acknowledge_received_data(size, stream)
        return events

    # ---- output -------------------------------------------------------------------------------

    def answer(self, stream: int, metadata: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """
        Accept a call: some clients wait for the response headers before they send a message.

        Args:
            metadata: Additional headers.
        """
        found = self._streams.get(stream)
        if found is not None and not self._is_over:
            found.answered = True
            self._h2.send_headers(stream, (*_ANSWER, *metadata))

    def send(self, stream: int, payload: bytes) -> None:
        """Send a message on an accepted call; octets beyond the client's window wait."""
        self.send_framed(stream, message_frame(payload))

    def send_framed(self, stream: int, frames: bytes) -> None:
        """Send messages that `message_frame` has framed, as `send` does."""
        found = self._streams.get(stream)
        if found is not None:
            found.outgoing += frames
            self._waiting[stream] = found

    def waiting(self, stream: int) -> int:
        """Return the number of octets that wait for the client's window; send more only when few wait."""
        found = self._streams.get(stream)
        return 0 if found is None else len(found.outgoing)

    def end(self, stream: int, status: Status, text: str = "", details: bytes = b"") -> None:
        """
        End a call, accepted or not; octets that wait for the client's window are dropped.

        Args:
            details: A google.rpc.Status with more than the two, for clients that know its content.
        """
        found = self._pop(stream)
        if found is None or self._is_over:
            return
        headers = [] if found.answered else [*_ANSWER]
        headers.append((b"grpc-status", str(int(status)).encode()))
        if text:
            headers.append((b"grpc-message", quote(text[:_TEXT_SHOWN], safe=_PRINTABLE).encode()))
        if details:
            headers.append((b"grpc-status-details-bin", base64.b64encode(details).rstrip(b"=")))
        self._finish(stream, headers, half_closed=found.half_closed)

    def ping(self) -> None:
        """Send a PING, which the client's library answers."""
        if not self._is_over:
            self._h2.ping(bytes(8))

    def retire(self) -> None:
        """Ask the client to make its next calls on another connection; those under way go on (RFC 9113 §6.8)."""
        self._notice = _NO_MORE_CALLS

    def close(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Close the connection with a GOAWAY."""
        if not self._is_over:
            self._forget()
            self._h2.close_connection(code)

    def take(self) -> bytes:
        """Return the octets to send; call this once after all other calls of a wake-up."""
        for stream, each in list(self._waiting.items()):
            self._push(stream, each.outgoing)
            if not each.outgoing:
                del self._waiting[stream]
                if each.is_refused:
                    self._end_refused(stream)
        octets = self._notice + self._h2.data_to_send()
        self._notice = b""
        return octets

    # ---- parts --------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._is_over = True
        self._unread = b""
        self._streams.clear()
        self._waiting.clear()

    def _pop(self, stream: int) -> _Stream | None:
        self._waiting.pop(stream, None)
        return self._streams.pop(stream, None)

    def _push(self, stream: int, outgoing: bytearray) -> None:
        """Send as many octets as the flow-control windows allow."""
        at, end = 0, min(self._h2.local_flow_control_window(stream), len(outgoing))
        while at < end:
            size = min(MAX_FRAME, end - at)  # every client accepts frames of this size
            self._h2.send_data(stream, bytes(outgoing[at : at + size]))
            self.sent += 1
            at += size
        del outgoing[:at]

    def _finish(self, stream: int, headers: Sequence[tuple[bytes, bytes]], *, half_closed: bool) -> None:
        with contextlib.suppress(ProtocolError):  # the client has just reset the stream
            self._h2.send_headers(stream, headers, end_stream=True)
            if not half_closed:
                self._h2.reset_stream(stream, ErrorCodes.NO_ERROR)

    def _refuse_request(self, stream: int, status: bytes, text: str, *, half_closed: bool) -> None:
        """Answer a request without gRPC in HTTP."""
        found = _Stream()
        found.is_refused, found.half_closed = True, half_closed
        found.outgoing += text.encode()
        with contextlib.suppress(ProtocolError):  # the client has just reset the stream
            self._h2.send_headers(stream, ((b":status", status), _TEXT))
            self._streams[stream] = self._waiting[stream] = found

    def _end_refused(self, stream: int) -> None:
        """End a refused request whose text has left; a body that still comes is cut off when it comes."""
        self._h2.end_stream(stream)
        if self._streams[stream].half_closed:
            del self._streams[stream]

    def _on_request(self, event: h2.events.RequestReceived, events: list[GrpcEvent], _taken: dict[int, int]) -> None:
        headers: Mapping[bytes, bytes] = dict(event.headers)
        path = headers.get(b":path", b"").decode("latin-1")
        half_closed = event.stream_ended is not None
        flaw = _flaw_of(headers)
        if flaw is not None:
            status, detail = flaw
            self._refuse_request(event.stream_id, status, detail, half_closed=half_closed)
            events.append(NotGrpc(path, detail))
            return
        self._streams[event.stream_id] = _Stream()
        agent = headers.get(b"user-agent", b"").decode("latin-1")
        shown = "".join(each for each in agent if each.isprintable())[:_AGENT_SHOWN]
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        events.append(StreamOpened(event.stream_id, path, shown, _timeout_of(headers), authorization))

    def _on_data(self, event: h2.events.DataReceived, events: list[GrpcEvent], taken: dict[int, int]) -> None:
        stream = event.stream_id
        taken[stream] = taken.get(stream, 0) + event.flow_controlled_length
        found = self._streams.get(stream)
        if found is None or found.is_deaf:
            return
        if found.is_refused:
            self._pop(stream)
            self._h2.reset_stream(stream, ErrorCodes.NO_ERROR)
            return
        data, rest = event.data, found.rest
        self._messages_cost -= len(data) // _CONTENT_WORTH
        if rest:
            rest += data
            if len(rest) < found.needed:
                return
            data = bytes(rest)
        at, end = 0, len(data)
        found.needed = _PREFIX.size
        while end - at >= _PREFIX.size:
            flag, length = _PREFIX.unpack_from(data, at)
            if flag or length > self._max_message:
                self._refuse(stream, found, flag, length, events)
                return
            following = at + _PREFIX.size + length
            if following > end:
                found.needed = following - at
                break
            events.append(Message(stream, data[at + _PREFIX.size : following]))
            self._messages_cost += 1 if length < _USEFUL else 1 - _WORTH
            at = following
        rest[:] = data[at:]

    def _refuse(self, stream: int, found: _Stream, flag: int, length: int, events: list[GrpcEvent]) -> None:
        found.is_deaf = True
        found.rest.clear()
        if flag == 1:
            events.append(MessageFault(stream, Fault.COMPRESSED, "a message is compressed"))
        elif flag:
            events.append(MessageFault(stream, Fault.MALFORMED, f"the octet before a message's length is {flag}"))
        else:
            detail = f"a message of {length} octets; the limit is {self._max_message}"
            events.append(MessageFault(stream, Fault.TOO_LARGE, detail))

    def _on_end(self, event: h2.events.StreamEnded, events: list[GrpcEvent], _taken: dict[int, int]) -> None:
        found = self._streams.get(event.stream_id)
        if found is None:
            return
        found.half_closed = True
        if found.is_refused:
            if not found.outgoing:
                del self._streams[event.stream_id]
        elif found.rest:
            detail = f"the stream ended after {len(found.rest)} octets of a message"
            events.append(MessageFault(event.stream_id, Fault.TRUNCATED, detail))
        elif not found.is_deaf:
            events.append(HalfClosed(event.stream_id))

    def _on_reset(self, event: h2.events.StreamReset, events: list[GrpcEvent], _taken: dict[int, int]) -> None:
        found = self._pop(event.stream_id)
        if found is not None and not found.is_refused:
            events.append(StreamReset(event.stream_id, int(event.error_code), event.remote_reset))

    def _on_goaway(
        self, event: h2.events.ConnectionTerminated, events: list[GrpcEvent], _taken: dict[int, int]
    ) -> None:
        self._forget()
        debug = (event.additional_data or b"")[:_AGENT_SHOWN].decode(errors="backslashreplace")
        events.append(GoneAway(int(event.error_code or 0), debug))


_CONFIG: Final = h2.config.H2Configuration(client_side=False, header_encoding=None)
_HANDLERS: Final[Mapping[type[h2.events.Event], Callable[[GrpcServer, Any, list[GrpcEvent], dict[int, int]], None]]] = {
    h2.events.RequestReceived: GrpcServer._on_request,
    h2.events.DataReceived: GrpcServer._on_data,
    h2.events.StreamEnded: GrpcServer._on_end,
    h2.events.StreamReset: GrpcServer._on_reset,
    h2.events.ConnectionTerminated: GrpcServer._on_goaway,
}


def _flaw_of(headers: Mapping[bytes, bytes]) -> tuple[bytes, str] | None:
    """Return the HTTP status and the flaw of a request that is not gRPC, or None."""
    if headers.get(b":method") != b"POST":
        return b"405", "the method is not POST"
    content = headers.get(b"content-type", b"")
    if content.partition(b";")[0].partition(b"+")[0].strip() != b"application/grpc":
        return b"415", "the content type is not application/grpc"
    return None


def _timeout_of(headers: Mapping[bytes, bytes]) -> float | None:
    found = _TIMEOUT.fullmatch(headers.get(b"grpc-timeout", b""))
    return None if found is None else int(found[1]) * _UNITS[found[2]]
