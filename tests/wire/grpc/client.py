"""A gRPC client in memory, on h2, which can also break the rules of gRPC."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events

_PREFIX = struct.Struct("!BL")
PATH = "/gateway.v1.UserGatewayService/ControlStream"


class GrpcClient:
    """
    One connection with one call at a time.

    Args:
        reads: True to replenish the flow-control windows, like a program that reads its messages.
    """

    def __init__(self, *, reads: bool = True) -> None:
        self._reads = reads
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.stream = 0
        self.messages: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.reset: int | None = None
        self.goaway: int | None = None
        self.pings = 0
        self.text = b""
        """Octets of the answer's data."""
        self.ended = False
        """True once the server has ended the stream."""
        self._rest = b""

    @property
    def status(self) -> tuple[int, str] | None:
        """Status and text of the ended call; trailers may come without headers."""
        found = self.trailers or self.headers
        return (int(found["grpc-status"]), unquote(found.get("grpc-message", ""))) if "grpc-status" in found else None

    def open(
        self,
        path: str = PATH,
        *,
        method: str = "POST",
        content: str = "application/grpc",
        extra: Iterable[tuple[str, str]] = (),
        end: bool = False,
    ) -> bytes:
        """Call a method."""
        self.stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", method),
            (":scheme", "https"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", content),
            ("te", "trailers"),
            ("user-agent", "raw/1"),
            *extra,
        ]
        self.h2.send_headers(self.stream, headers, end_stream=end)
        return self.take()

    def send(self, payload: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
        """Send a message; flag and length may be false."""
        return self.raw(_PREFIX.pack(flag, len(payload) if length is None else length) + payload)

    def raw(self, octets: bytes, *, end: bool = False) -> bytes:
        """Send octets on the stream within the server's window."""
        largest = self.h2.max_outbound_frame_size
        for at in range(0, len(octets), largest):
            self.h2.send_data(self.stream, octets[at : at + largest])
        if end:
            self.h2.end_stream(self.stream)
        return self.take()

    def half_close(self) -> bytes:
        """Half-close the stream."""
        self.h2.end_stream(self.stream)
        return self.take()

    def give_up(self, code: int) -> bytes:
        """Reset the stream."""
        self.h2.reset_stream(self.stream, code)
        return self.take()

    def go_away(self, code: int, debug: bytes = b"") -> bytes:
        """Close the connection with GOAWAY."""
        self.h2.close_connection(code, debug)
        return self.take()

    def step(self, octets: bytes) -> bytes:
        """Process octets; return the octets of the client's reaction."""
        for event in self.h2.receive_data(octets):
            if isinstance(event, h2.events.ResponseReceived):
                self.headers = dict(event.headers)  # type: ignore[arg-type]  # text, as an encoding is set
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers = dict(event.headers)  # type: ignore[arg-type]  # likewise
            elif isinstance(event, h2.events.DataReceived):
                self._take_data(event)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = True
            elif isinstance(event, h2.events.StreamReset):
                self.reset = int(event.error_code)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = int(event.error_code or 0)
            elif isinstance(event, h2.events.PingReceived):
                self.pings += 1
        return self.take()

    def take(self) -> bytes:
        """Return the octets to send."""
        return self.h2.data_to_send()

    def _take_data(self, event: h2.events.DataReceived) -> None:
        if self._reads:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if self.headers.get("content-type") == "text/plain":
            self.text += event.data
            return
        data = self._rest + event.data
        while len(data) >= _PREFIX.size:
            _, length = _PREFIX.unpack_from(data)
            if len(data) < _PREFIX.size + length:
                break
            self.messages.append(data[_PREFIX.size : _PREFIX.size + length])
            data = data[_PREFIX.size + length :]
        self._rest = data
