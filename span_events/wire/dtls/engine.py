"""
The protocol of a DTLS engine, which does no I/O: datagrams go in, events and datagrams come out.

An engine receives only hellos whose cookie was verified (`wire.dtls.hello`). There may be several engines;
one with Connection ID (RFC 9146) fits behind the same protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Protocol

from cryptography.x509 import Certificate

from span_events.wire.dtls.records import Alert


class Verdict(Enum):
    """What the gate says of a certificate that is formally right."""

    ADMITTED = auto()
    REVOKED = auto()
    REFUSED = auto()


class Gate(Protocol):
    """Who may come in; asked during one handshake. It must answer at once, and never raise."""

    def judge(self, certificate: Certificate) -> Verdict:
        """Judge a certificate that chains to a trusted root and is valid now; its key is not proven yet."""

    def key_of(self, identity: bytes) -> bytes | None:
        """Return the key of a PSK identity; None refuses it."""


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is done, and the client has proven who it is by exactly one of the two."""

    certificate: Certificate | None
    psk_identity: bytes | None
    cipher: str


@dataclass(frozen=True, slots=True)
class Data:
    """The client sent application data."""

    payload: bytes


class End(StrEnum):
    """How a session ended."""

    CLOSE_NOTIFY = "closeNotify"
    ALERT = "alert"
    """The client sent a fatal alert, authenticated."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The client ended the session."""

    end: End
    detail: str = ""


class Failure(StrEnum):
    """Why a handshake failed."""

    UNKNOWN_CA = "unknownCa"
    CERTIFICATE_EXPIRED = "certificateExpired"
    CERTIFICATE_NOT_YET_VALID = "certificateNotYetValid"
    CERTIFICATE_INVALID = "certificateInvalid"
    """Another rule is broken; the detail has it."""
    CERTIFICATE_REFUSED = "certificateRefused"
    """By the gate."""
    NO_CREDENTIALS = "noCredentials"
    NO_SHARED_CIPHER = "noSharedCipher"
    UNSUPPORTED_VERSION = "unsupportedVersion"
    IDENTITY_REFUSED = "identityRefused"
    """By the gate."""
    PSK_MISMATCH = "pskMismatch"
    CLIENT_ALERT = "clientAlert"
    PROTOCOL = "protocol"
    """Anything else; the detail has the engine's words."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The handshake is over; whatever should be said to the client is in the output."""

    failure: Failure
    detail: str = ""
    certificate: Certificate | None = None
    psk_identity: bytes | None = None


Event = Established | Data | Closed | Failed


class EngineSession(Protocol):
    """One client. After `Closed` or `Failed`, only `take` may be called."""

    established: bool
    retransmissions: int
    """Flights that we sent again."""

    @property
    def stage(self) -> str:
        """The last handshake message that was sent or understood."""

    def feed(self, datagram: bytes) -> Sequence[Event]:
        """Take one datagram in."""

    def send(self, payload: bytes) -> None:
        """Encrypt application data; only when established."""

    def take(self) -> list[bytes]:
        """Return the datagrams that wait to be sent; call it after each other call."""

    def timeout(self) -> float | None:
        """
        Return the seconds until `expire` is due; None if nothing is.

        Measured by the engine: OpenSSL asks the system's clock and takes no other.
        """

    def expire(self) -> Sequence[Event]:
        """Do what is due, which is sending the last flight again; too early does no harm."""

    def close(self) -> None:
        """End the session from our side, with a close_notify."""

    def abort(self, description: Alert) -> None:
        """End a handshake from our side, with a fatal alert."""


class Engine(Protocol):
    """Makes sessions."""

    def accept(self, hello: bytes, gate: Gate) -> tuple[EngineSession, Sequence[Event]]:
        """Begin a session with the datagram of a hello whose cookie was verified."""
