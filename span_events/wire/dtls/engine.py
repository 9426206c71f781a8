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

from span_events.wire.dtls.hello import ClientHello
from span_events.wire.dtls.records import Alert


class Verdict(Enum):
    """Decisions of a `ClientCheck` about a valid certificate."""

    ADMITTED = auto()
    REVOKED = auto()
    REFUSED = auto()


class ClientCheck(Protocol):
    """Decides about one client during its handshake; it must answer at once, and never raise."""

    def judge(self, certificate: Certificate) -> Verdict:
        """Decide about a certificate that chains to a trusted root and is valid now; the key is not yet proven."""

    def key_of(self, identity: bytes) -> bytes | None:
        """Return the key of a PSK identity; None rejects the client."""


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is complete; the client has proven either a certificate or a PSK identity."""

    certificate: Certificate | None
    psk_identity: bytes | None
    cipher: str


@dataclass(frozen=True, slots=True)
class Data:
    """The client sent application data."""

    payload: bytes


class End(StrEnum):
    """Ends of a session."""

    CLOSE_NOTIFY = "closeNotify"
    ALERT = "alert"
    """The client sent an authenticated fatal alert."""
    BROKEN = "broken"
    """The client broke the protocol; the detail has the engine's message, and a fatal alert waits in `take`."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The session ended by the client's doing."""

    end: End
    detail: str = ""


class Failure(StrEnum):
    """Causes of a failed handshake."""

    UNKNOWN_CA = "unknownCa"
    CERTIFICATE_EXPIRED = "certificateExpired"
    CERTIFICATE_NOT_YET_VALID = "certificateNotYetValid"
    CERTIFICATE_INVALID = "certificateInvalid"
    """The certificate breaks another rule, which is in the detail."""
    CERTIFICATE_REFUSED = "certificateRefused"
    """The check rejected the certificate."""
    NO_CREDENTIALS = "noCredentials"
    NO_SHARED_CIPHER = "noSharedCipher"
    NO_SHARED_GROUP = "noSharedGroup"
    """The elliptic curves of the client do not fit the certificates; the detail names them."""
    UNSUPPORTED_VERSION = "unsupportedVersion"
    IDENTITY_REFUSED = "identityRefused"
    """The check has no key for the PSK identity."""
    PSK_MISMATCH = "pskMismatch"
    CLIENT_ALERT = "clientAlert"
    PROTOCOL = "protocol"
    """Any other cause; the detail has the engine's message."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The handshake failed; an alert for the client, if there is one, waits in `take`."""

    failure: Failure
    detail: str = ""
    certificate: Certificate | None = None
    psk_identity: bytes | None = None


Event = Established | Data | Closed | Failed


class EngineSession(Protocol):
    """The session of one client. After `Closed` or `Failed`, only `take` may be called."""

    established: bool
    retransmissions: int
    """Number of flights that the server sent again."""

    @property
    def stage(self) -> str:
        """Name of the last handshake message that was sent or understood."""

    def feed(self, datagram: bytes) -> Sequence[Event]:
        """Process one datagram of the client."""

    def send(self, payload: bytes) -> None:
        """Encrypt application data; only while established."""

    def take(self) -> list[bytes]:
        """Return the datagrams to be sent; to be called after every other method."""

    def timeout(self) -> float | None:
        """
        Return the seconds until `expire` is due; None without a timer.

        The engine measures them: OpenSSL reads the system's clock and accepts no other.
        """

    def expire(self) -> Sequence[Event]:
        """Send the last flight again if that is due; an early call is harmless."""

    def close(self) -> None:
        """End the session with a close_notify."""

    def abort(self, description: Alert) -> None:
        """End a handshake with a fatal alert."""


class Engine(Protocol):
    """Creates the sessions of clients."""

    @property
    def validity(self) -> str:
        """Validity of the server's certificate, for people: from … to …."""

    def offers_both(self, hello: ClientHello) -> bool:
        """Return whether a hello offers suites with PSK and suites with certificates that the engine accepts."""

    def accept(
        self, datagram: bytes, hello: ClientHello, check: ClientCheck, *, prefer_certificates: bool = False
    ) -> tuple[EngineSession, Sequence[Event]]:
        """
        Create a session from a hello whose cookie was verified.

        Args:
            datagram: The datagram of the hello.
            prefer_certificates: True prefers suites with certificates to suites with PSK.
        """
