"""
gRPC of a server without I/O: what comes out of a connection, and how a call ends.

Messages are octets here: whoever serves the stream knows their definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from h2.errors import ErrorCodes


class Status(IntEnum):
    """How a call ended (google.rpc.Code)."""

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


# ---- what comes out --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A client calls a method."""

    stream: int
    path: str
    user_agent: str
    timeout: float | None
    """Seconds that the client gives the call, if it said so."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message came."""

    stream: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class HalfClosed:
    """The client will send nothing more, in order."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The client gave the stream up, or HTTP/2 was broken in it alone; it is over."""

    stream: int
    code: int
    by_client: bool


class Fault(StrEnum):
    """What is wrong with a message, as far as gRPC looks at it."""

    TOO_LARGE = "tooLarge"
    COMPRESSED = "compressed"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class MessageFault:
    """A message cannot be taken; whatever else comes on the stream is ignored, so it should be ended."""

    stream: int
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class NotGrpc:
    """A request came that is not of gRPC; it was answered."""

    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The client gave the connection up; nothing more can be sent."""

    code: int
    debug: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The client broke HTTP/2, the connection is over; what tells it so is in the output."""

    detail: str


GrpcEvent = StreamOpened | Message | HalfClosed | StreamReset | MessageFault | NotGrpc | GoneAway | Broken


def code_name(code: int) -> str:
    """Name an error code of HTTP/2 (RFC 9113 §7)."""
    try:
        return ErrorCodes(code).name
    except ValueError:
        return str(code)
