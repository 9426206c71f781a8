"""gRPC over HTTP/2 without I/O: one connection of a client with one call on it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
from h2.exceptions import ProtocolError

from span_events.wire.grpc.connections import Status, code_name

_PREFIX: Final = struct.Struct("!BL")
"""Before each message: compressed or not, and its length."""
_MAX_MESSAGE: Final = 4_194_304
"""Octets of a message at most, as in other gRPC clients."""


@dataclass(frozen=True, slots=True)
class End:
    """How a call ended."""

    status: int
    """google.rpc.Code."""
    text: str

    @property
    def name(self) -> str:
        """The status in words, ``UNAVAILABLE``."""
        try:
            return Status(self.status).name
        except ValueError:
            return f"status {self.status}"

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.text else self.name


class GrpcCall:
    """
    A call that is made at once.

    Args:
        path: The method.
        authority: The server, as the client calls it.
        agent: What the client calls itself.
    """

    def __init__(self, path: str, *, authority: str, agent: str) -> None:
        self.is_accepted = False
        """Whether the server has answered, other than with a refusal."""
        self.end: End | None = None
        """How the call ended; the first sign counts."""
        self._outgoing = bytearray()  # what the server's window did not take yet
        self._rest = b""
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self._h2.initiate_connection()
        self._stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(
            self._stream,
            [
                (":method", "POST"),
                (":scheme", "https"),
                (":path", path),
                (":authority", authority),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("user-agent", agent),
            ],
        )

    @property
    def waiting(self) -> int:
        """Octets that wait for the server's window."""
        return len(self._outgoing)

    def send(self, payload: bytes) -> None:
        """Send a message; nothing happens when the call is over."""
        if self.end is None:
            self._outgoing += _PREFIX.pack(0, len(payload)) + payload

    def half_close(self) -> None:
        """Say that no more comes; what waits for the server's window is dropped."""
        if self.end is None:
            self._outgoing.clear()
            self._h2.end_stream(self._stream)

    def lose(self, why: str) -> None:
        """The connection is gone."""
        self._finish(Status.UNAVAILABLE, why)

    def feed(self, octets: bytes) -> list[bytes]:
        """Take octets in; return the messages that are whole now."""
        if self.end is not None:
            return []
        messages: list[bytes] = []
        try:
            for event in self._h2.receive_data(octets):
                if isinstance(event, h2.events.DataReceived):
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    messages += self._unpack(event.data)
                else:
                    self._take(event)
        except ProtocolError as exc:
            self._finish(Status.INTERNAL, f"the server broke HTTP/2: {exc}")
        return messages

    def take(self) -> bytes:
        """Return what waits to be sent; call it after all others of a wake-up."""
        if self._outgoing and self.end is None:
            at, end = 0, min(self._h2.local_flow_control_window(self._stream), len(self._outgoing))
            while at < end:
                size = min(self._h2.max_outbound_frame_size, end - at)
                self._h2.send_data(self._stream, bytes(self._outgoing[at : at + size]))
                at += size
            del self._outgoing[:at]
        return self._h2.data_to_send()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self._take_headers(dict(event.headers or ()))
        elif isinstance(event, h2.events.StreamEnded):
            self._finish(Status.INTERNAL, "the server ended the call without a status")
        elif isinstance(event, h2.events.StreamReset):
            self._finish(Status.UNAVAILABLE, f"RST_STREAM {code_name(int(event.error_code))}")
        elif isinstance(event, h2.events.ConnectionTerminated):
            debug = (event.additional_data or b"").decode(errors="replace")
            self._finish(Status.UNAVAILABLE, f"GOAWAY {code_name(int(event.error_code or 0))} {debug}".strip())

    def _take_headers(self, headers: dict[bytes, bytes]) -> None:
        status = headers.get(b"grpc-status")
        http = headers.get(b":status", b"200")
        if status is not None and status.isdigit():
            self._finish(int(status), unquote(headers.get(b"grpc-message", b"").decode("latin-1")))
        elif http != b"200":
            self._finish(Status.UNAVAILABLE, f"HTTP status {http.decode('latin-1')}")
        else:
            self.is_accepted = True

    def _unpack(self, data: bytes) -> list[bytes]:
        messages: list[bytes] = []
        data = self._rest + data
        while len(data) >= _PREFIX.size:
            flag, length = _PREFIX.unpack_from(data)
            if flag or length > _MAX_MESSAGE:
                self._finish(Status.RESOURCE_EXHAUSTED, f"a message of {length} octets, flag {flag}")
                return messages
            if len(data) < _PREFIX.size + length:
                break
            messages.append(data[_PREFIX.size : _PREFIX.size + length])
            data = data[_PREFIX.size + length :]
        self._rest = data
        return messages

    def _finish(self, status: int, text: str) -> None:
        if self.end is None:
            self.end = End(status, text)
