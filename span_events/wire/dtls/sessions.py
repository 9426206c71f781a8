"""
DTLS 1.2 without I/O (RFC 6347): the shape of records, and what an engine of sessions is.

Datagrams go in, events and datagrams come out. An engine sees only hellos whose cookie was verified
(`dtls_hello`); there may be several engines, and one with Connection ID (RFC 9146) finds its place
behind the same protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum, auto
from typing import Final, NamedTuple, Protocol

from cryptography.x509 import Certificate

HEADER: Final = struct.Struct("!BHHHIH")
"""Content type, version, epoch, sequence number (16 and 32 bits), length (RFC 6347 §4.1)."""
MTU: Final = 1232
"""Octets of a datagram at most: what IPv6 carries everywhere (1280), without its headers."""

DTLS_1_0: Final = 0xFEFF
DTLS_1_2: Final = 0xFEFD
DTLS_1_3: Final = 0xFEFC
_BEFORE_1_0: Final = 0x0100
"""What OpenSSL 0.9.8 wrote (DTLS1_BAD_VER); only a hello is taken for DTLS by that."""


class ContentType(IntEnum):
    """Kinds of records (IANA "TLS ContentType")."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23
    HEARTBEAT = 24
    CONNECTION_ID = 25


class Alert(IntEnum):
    """Fatal alerts that are written here (IANA "TLS Alerts")."""

    BAD_RECORD_MAC = 20
    PROTOCOL_VERSION = 70
    USER_CANCELED = 90


class Record(NamedTuple):
    """One record of a datagram."""

    kind: int
    version: int
    epoch: int
    sequence: int
    at: int
    """Where its content begins."""
    length: int


def is_dtls(datagram: bytes) -> bool:
    """Tell DTLS from anything else: well-formed records from the first octet to the last."""
    end = len(datagram)
    at = 0
    while True:
        content = at + HEADER.size
        if end < content or not ContentType.CHANGE_CIPHER_SPEC <= datagram[at] <= ContentType.CONNECTION_ID:
            return False
        kind, version, epoch, _, _, length = HEADER.unpack_from(datagram, at)
        if version == _BEFORE_1_0:
            if kind != ContentType.HANDSHAKE or epoch:
                return False
        elif version not in (DTLS_1_2, DTLS_1_0):
            return False
        if kind == ContentType.CONNECTION_ID:  # where its length stands depends on the id (RFC 9146 §4)
            return True
        at = content + length
        if at == end:
            return True


def records(datagram: bytes) -> Iterator[Record]:
    """Yield the records of a datagram that `is_dtls`."""
    at = 0
    while at + HEADER.size <= len(datagram):
        kind, version, epoch, high, low, length = HEADER.unpack_from(datagram, at)
        yield Record(kind, version, epoch, high << 32 | low, at + HEADER.size, length)
        at += HEADER.size + length


def alert(description: Alert, *, sequence: int = 1 << 32) -> bytes:
    """Write a fatal alert in the clear; the number is one that a handshake never reaches."""
    head = HEADER.pack(ContentType.ALERT, DTLS_1_2, 0, sequence >> 32, sequence & 0xFFFFFFFF, 2)
    return head + bytes((2, description))


def pack(octets: bytes, mtu: int = MTU) -> list[bytes]:
    """Cut a run of records into datagrams; a record that is larger than the MTU gets one of its own."""
    if len(octets) <= mtu:
        return [octets] if octets else []
    packed = []
    begin = end = 0
    for record in records(octets):
        following = record.at + record.length
        if following - begin > mtu and end > begin:
            packed.append(octets[begin:end])
            begin = end
        end = following
    packed.append(octets[begin:end])
    return packed


# ---- what comes out of a session -------------------------------------------------------------


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


class Session(Protocol):
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

    def accept(self, hello: bytes, gate: Gate) -> tuple[Session, Sequence[Event]]:
        """Begin a session with the datagram of a hello whose cookie was verified."""
