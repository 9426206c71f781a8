"""Client side of gRPC over HTTP/2, without I/O: one connection with one call."""

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
"""Prefix of each message: compressed flag and length."""
_MAX_MESSAGE: Final = 4_194_304
"""Largest message, octets, as in other gRPC clients."""


@dataclass(frozen=True, slots=True)
class End:
    """Status of an ended call."""

    status: int
    """google.rpc.Code."""
    text: str

    @property
    def name(self) -> str:
        """Name of the status, ``UNAVAILABLE``."""
        try:
            return Status(self.status).name
        except ValueError:
            return f"status {self.status}"

    def __str__(self) -> str:
        return f"{self.name}: {self.text}" if self.text else self.name


class GrpcCall:
    """
    A call, opened by the constructor.

    Args:
        path: Path of the method.
        authority: Name of the server, for the header ``:authority``.
        agent: Name of the client, for the header ``user-agent``.
    """

    def __init__(self, path: str, *, authority: str, agent: str) -> None:
        self.is_accepted = False
        """True after the server has accepted the call."""
        self.end: End | None = None
        """Status of the ended call; the first sign of the end counts."""
        self._outgoing = bytearray()  # octets that wait for the server's window
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
        """Send a message; has no effect when the call is over."""
        if self.end is None:
            self._outgoing += _PREFIX.pack(0, len(payload)) + payload

    def half_close(self) -> None:
        """Close the client's direction; octets that wait for the server's window are dropped."""
        if self.end is None:
            self._outgoing.clear()
            self._h2.end_stream(self._stream)

    def lose(self, why: str) -> None:
        """End the call after the loss of its connection."""
        self._finish(Status.UNAVAILABLE, why)

    def feed(self, octets: bytes) -> list[bytes]:
        """Parse received octets; return the completed messages."""
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
        """Return the octets to send; call this once after all other calls of a wake-up."""
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
