"""
TLS 1.2 and 1.3 of a server on OpenSSL, through pyOpenSSL's memory BIOs (RFC 8446, RFC 5246).

Octets go in, events and octets come out. Sessions are not resumed: each client presents its certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from span_events.wire.openssl import (
    LARGEST_RECORD,
    WANT_READ,
    ZERO_RETURN,
    Cause,
    Identity,
    judge_by,
    queued_cause,
    show,
    trust,
    verify_words,
)
from span_events.wire.tls.alerts import REFUSES_CERTIFICATE, alert_name
from span_events.wire.tls.connections import CertificateFault, Closed, Data, End, Established, Event, Failed, Failure

MODERN: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Cipher suites of TLS 1.2 that every gRPC library has; those of TLS 1.3 are OpenSSL's defaults."""
COMPATIBLE: Final = b"@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""The same for small devices: with AES-CBC, and without elliptic curves."""
_HANDSHAKE: Final = 22
"""Content type of a client's first record (RFC 8446 §5.1)."""
_SHOWN: Final = 24
"""Octets quoted from input that is not TLS."""
_FAULTS: Final = MappingProxyType(
    dict.fromkeys((2, 7, 18, 19, 20, 21), CertificateFault.UNKNOWN_CA)
    | {
        26: CertificateFault.WRONG_PURPOSE,
        9: CertificateFault.NOT_YET_VALID,
        10: CertificateFault.EXPIRED,
    }
)
"""X509_V_ERR_* by number; a wrong signature (7) means another authority with the same name."""
_VERIFY_FAILED: Final = "certificate verify failed"
"""OpenSSL's words for a certificate that the callback refused."""
_GRAVEST_FIRST: Final = tuple(CertificateFault)
_FAILURES: Final = MappingProxyType(
    {
        "no shared cipher": Failure.NO_SHARED_CIPHER,
        "no suitable key share": Failure.NO_SHARED_CIPHER,
        "unsupported protocol": Failure.UNSUPPORTED_VERSION,
        "version too low": Failure.UNSUPPORTED_VERSION,
        "peer did not return a certificate": Failure.NO_CERTIFICATE,
    }
)
"""Causes of failed handshakes by OpenSSL's words."""


class TlsEngine:
    """
    Creates connections; listeners of one protocol may share an engine.

    Args:
        identities: Keys and certificates of the server, one per kind of key; `present` replaces them.
        trusted_pem: Roots of client certificates, and intermediates that clients may leave out.
        unix_time: Returns the time at which certificates must be valid, Unix seconds.
        protocol: ALPN name of the protocol that is served (RFC 7301); empty to choose none.
        tolerated: Faults of certificates that do not end the handshake; None for all, and for a missing certificate.
        suites: Cipher suites of TLS 1.2.
    """

    def __init__(
        self,
        identities: Sequence[Identity],
        trusted_pem: bytes,
        *,
        unix_time: Callable[[], int],
        protocol: bytes = b"h2",
        tolerated: Collection[CertificateFault] | None = None,
        suites: bytes = MODERN,
    ) -> None:
        self._unix_time = unix_time
        self._tolerated = None if tolerated is None else frozenset(tolerated)
        self._suites = suites
        self._protocol = protocol
        self._buffer = ffi.new("char[]", LARGEST_RECORD)
        self._trusted = trusted_pem
        self._context = self._make_context(identities)

    def present(self, identities: Sequence[Identity]) -> None:
        """Replace the server's certificates; open connections keep the previous ones."""
        self._context = self._make_context(identities)

    def trust(self, certificates_pem: bytes) -> None:
        """Add roots to trust, or intermediates that clients may leave out."""
        self._trusted += certificates_pem
        trust(self._context, certificates_pem)

    def accept(self) -> TlsConnection:
        """Return a new connection."""
        return TlsConnection(self._context, self._buffer, self._unix_time(), self._names, self._tolerated)

    def _make_context(self, identities: Sequence[Identity]) -> SSL.Context:
        self._names = frozenset(name for each in identities for name in _names(each))
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        # A resumed session would present no certificate. Tickets need the option, and the cache off as well.
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_cipher_list(self._suites)
        show(context, identities)
        trust(context, self._trusted)
        missing = 0 if self._tolerated is None else SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        context.set_verify(SSL.VERIFY_PEER | missing, _note_error)
        if self._protocol:
            context.set_alpn_select_callback(self._choose)
        return context

    def _choose(self, _connection: SSL.Connection, offered: list[bytes]) -> Any:
        return self._protocol if self._protocol in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class TlsConnection:
    """The connection of one client; after `Closed` or `Failed`, only `take` may be called."""

    def __init__(
        self,
        context: SSL.Context,
        buffer: Any,
        unix_time: int,
        names: frozenset[str],
        tolerated: frozenset[CertificateFault] | None,
    ) -> None:
        self._names = names
        self._verification = _Verification(tolerated)
        self._connection = SSL.Connection(context, None)
        self._connection.set_app_data(self._verification)
        self._connection.set_accept_state()
        connection: Any = self._connection
        self._ssl = connection._ssl
        self._into = connection._into_ssl
        self._from = connection._from_ssl
        self._buffer = buffer
        self._begun = False
        self._output: list[bytes] = []
        self.has_answered = False
        """True once the client may have received the server's certificate."""
        self.established = False
        judge_by(self._ssl, unix_time)

    def feed(self, octets: bytes | memoryview) -> Sequence[Event]:
        """Process received octets; return the events."""
        if not self._begun and len(octets):
            self._begun = True
            if octets[0] != _HANDSHAKE:
                return [Failed(Failure.NOT_TLS, f"it begins with {bytes(octets[:_SHOWN])!r}")]
        lib.ERR_clear_error()
        events: list[Event] = []
        source = ffi.from_buffer(octets)
        for at in range(0, len(octets), LARGEST_RECORD):  # in parts: OpenSSL's buffers never shrink
            lib.BIO_write(self._into, source + at, min(LARGEST_RECORD, len(octets) - at))
            events += self._read() if self.established else self._proceed()
            if events and isinstance(events[-1], Closed | Failed):
                break
        self._drain()
        return events

    def send(self, payload: bytes) -> None:
        """Encrypt application data; only after the handshake."""
        assert self.established, "nothing is sent before the handshake is done"
        lib.ERR_clear_error()
        for at in range(0, len(payload), LARGEST_RECORD):
            part = payload[at : at + LARGEST_RECORD]
            if lib.SSL_write(self._ssl, part, len(part)) <= 0:
                queued_cause()  # the connection broke, and the next read reports the cause
                return
            self._drain()

    def take(self) -> bytes:
        """Return the octets to send; call it after each other call."""
        output, self._output = self._output, []
        return b"".join(output)

    def close(self) -> None:
        """End the connection from our side with a close_notify; idempotent."""
        lib.ERR_clear_error()
        if self.established:
            lib.SSL_shutdown(self._ssl)
            self._drain()

    # ---- parts ------------------------------------------------------------------------------------

    def _proceed(self) -> list[Event]:
        result = lib.SSL_do_handshake(self._ssl)
        if result != 1:
            error = lib.SSL_get_error(self._ssl, result)
            return [] if error == WANT_READ else [self._explain(queued_cause())]
        self.established = True
        return [self._finish(), *self._read()]

    def _finish(self) -> Established:
        certificate, fault, detail = None, None, ""
        connection = self._connection
        asked = (connection.get_servername() or b"").decode("ascii", "backslashreplace")
        try:
            certificate = connection.get_peer_certificate(as_cryptography=True)
        except (ValueError, x509.InvalidVersion) as exc:  # OpenSSL parses some certificates that are not DER
            fault, detail = CertificateFault.INVALID, str(exc)
        if fault is None:
            fault, detail = self._verification.gravest()
        return Established(
            certificate,
            fault,
            detail,
            connection.get_protocol_version_name(),
            connection.get_cipher_name() or "",
            connection.get_alpn_proto_negotiated(),
            "" if asked.lower() in self._names else asked,
        )

    def _explain(self, cause: Cause) -> Failed:
        """Return the event for a handshake that OpenSSL aborted."""
        if cause.alert is not None:
            failure = Failure.SERVER_REFUSED if cause.alert in REFUSES_CERTIFICATE else Failure.CLIENT_ALERT
            return Failed(failure, alert_name(cause.alert))
        fault, detail = self._verification.gravest()
        if cause.words == _VERIFY_FAILED and fault is not None:
            return Failed(Failure.BAD_CERTIFICATE, detail, fault)
        return Failed(_FAILURES.get(cause.words, Failure.PROTOCOL), cause.words)

    def _read(self) -> list[Event]:
        ssl, buffer = self._ssl, self._buffer
        payload = []
        while (count := lib.SSL_read(ssl, buffer, LARGEST_RECORD)) > 0:
            payload.append(ffi.buffer(buffer, count)[:])
        events: list[Event] = [Data(b"".join(payload))] if payload else []
        error = lib.SSL_get_error(ssl, count)
        if error == ZERO_RETURN:
            events.append(Closed(End.CLOSE_NOTIFY))
        elif error != WANT_READ:
            events.append(_end(queued_cause()))
        return events

    def _drain(self) -> None:
        while (count := lib.BIO_read(self._from, self._buffer, LARGEST_RECORD)) > 0:
            self._output.append(ffi.buffer(self._buffer, count)[:])
            self.has_answered = True


@dataclass(slots=True)
class _Verification:
    """Errors of one client's certificate."""

    tolerated: frozenset[CertificateFault] | None
    errors: list[int] = field(default_factory=list)

    def gravest(self) -> tuple[CertificateFault | None, str]:
        """Return the gravest fault, and OpenSSL's words for it."""
        if not self.errors:
            return None, ""
        error = min(self.errors, key=lambda each: _GRAVEST_FIRST.index(_fault(each)))
        return _fault(error), verify_words(error)


def _note_error(connection: SSL.Connection, _certificate: object, error: int, _depth: int, ok: int) -> bool:
    """Collect the faults as OpenSSL's verify callback, and continue after each that is tolerated."""
    verification: _Verification = connection.get_app_data()
    if not ok:
        verification.errors.append(error)
    return bool(ok) or verification.tolerated is None or _fault(error) in verification.tolerated


def _names(identity: Identity) -> list[str]:
    """Return the DNS names in a server's certificate."""
    leaf = x509.load_pem_x509_certificate(identity.certificates_pem)
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [each.lower() for each in names.get_values_for_type(x509.DNSName)]


def _fault(error: int) -> CertificateFault:
    return _FAULTS.get(error, CertificateFault.INVALID)


def _end(cause: Cause) -> Closed:
    """Return the event for a connection that OpenSSL or an alert ended."""
    if cause.alert is None:
        return Closed(End.BROKEN, cause.words)
    return Closed(End.ALERT, alert_name(cause.alert), refuses_us=cause.alert in REFUSES_CERTIFICATE)
