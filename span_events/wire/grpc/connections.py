"""
Events and statuses of a gRPC server's connection, without I/O.

Messages are octets here; the service above decodes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from h2.errors import ErrorCodes


class Status(IntEnum):
    """Status of an ended call (google.rpc.Code)."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


# ---- events ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A client calls a method."""

    stream: int
    path: str
    user_agent: str
    timeout: float | None
    """Seconds until the deadline that the client set for the call, if any."""
    authorization: str = field(default="", repr=False)
    """The header ``authorization``; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message was received."""

    stream: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class HalfClosed:
    """The client closed its direction of the stream in order."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The client reset the stream, or broke HTTP/2 in this stream only; the stream is over."""

    stream: int
    code: int
    by_client: bool


class Fault(StrEnum):
    """Fault of a message in its gRPC framing."""

    TOO_LARGE = "tooLarge"
    COMPRESSED = "compressed"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class MessageFault:
    """A message was not accepted; later octets of the stream are ignored, so the caller should end the stream."""

    stream: int
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class NotGrpc:
    """A request without gRPC was received and answered."""

    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The client closed the connection with GOAWAY; nothing more can be sent."""

    code: int
    debug: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The client broke HTTP/2: the connection is over, and the output holds the GOAWAY for the client."""

    detail: str


GrpcEvent = StreamOpened | Message | HalfClosed | StreamReset | MessageFault | NotGrpc | GoneAway | Broken


def code_name(code: int) -> str:
    """Return the name of an HTTP/2 error code (RFC 9113 §7)."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return str(code)
