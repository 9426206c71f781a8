"""TLS of the ports for clients of events: HTTP with files that may change, or any port with the server's own."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from span_events.bounded.quiet import OncePerMinute
from span_events.config import HttpConfig
from span_events.errors import ConfigurationError
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.net import Remote
from span_events.wire.openssl import Identity

log = get_logger("web")

_HANDSHAKE: Final = 10.0
"""Seconds for a TLS handshake of an `OptionalTls`."""
# asyncio reserves 256 KiB to read from each connection: twelve times as much as the rest of an idle stream takes.
# A TLS record has at most 16 KiB.
sslproto.SSLProtocol.max_size = 16_384

_SOURCES: Final = 1_000
"""Upper bound of addresses whose failed handshakes have log lines of their own."""
_NOT_TLS: Final = frozenset({"HTTP_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})
"""OpenSSL's reasons for octets that are no TLS."""


class HttpTls:
    """
    The context of new connections; those that are open keep theirs.

    Args:
        own: Gives the identities that the server's authority issued, one for each kind of key, for ``"own"``.

    Raises:
        ConfigurationError: A file cannot be read, or is no certificate with its key.
    """

    def __init__(self, config: HttpConfig, own: Callable[[], Sequence[Identity]]) -> None:
        self._config = config
        self._own = own
        self._seen = self._state()
        try:
            self.context = self._load()
        except (OSError, ValueError) as exc:
            raise ConfigurationError(
                [f"http.certificate: {_words(exc)}"],
                hint="PEM: the certificate, then its intermediates; http.key its key.",
            ) from exc

    def refresh(self) -> None:
        """Load the certificate again if it has changed; with a faulty one, the last stays in use."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self.context = self._load()
        except (OSError, ValueError) as exc:
            log.error("http_certificate_not_loaded", detail=_words(exc), hint="The last one stays in use.")
            return
        log.info("http_certificate_loaded", tls=self._config.tls)

    def _state(self) -> object:
        """Return a value that differs when the certificate does."""
        if self._config.tls == "own":
            return self._own()
        found = []
        for path in (self._config.certificate, self._config.key):
            try:
                status = Path(path).stat() if path else None
            except OSError:
                status = None
            found.append(None if status is None else (status.st_mtime_ns, status.st_size, status.st_ino))
        return found

    def _load(self) -> ssl.SSLContext:
        """Return a new context: OpenSSL drops the key of a present one when it takes another certificate."""
        context = _context("http/1.1")
        if self._config.tls == "files":
            context.load_cert_chain(self._config.certificate, self._config.key or None, password=_no_password)
        else:
            for each in self._own():
                _load_identity(context, each)
        return context


class HandshakeFailures:
    """
    Counts the failed TLS handshakes of a port by reason, and logs each reason once a minute and address.

    Args:
        port: Name of the port, for the log and the metric.
    """

    def __init__(self, port: str) -> None:
        self._port = port
        self._quiet = OncePerMinute(_SOURCES)
        self.by_reason = Counter[str]()

    def note(self, error: OSError, host: str) -> None:
        """Count a failure; a client that left without a word, such as a check of the port, is not logged."""
        reason = _reason_of(error)
        self.by_reason[reason] += 1
        if reason != "aborted" and (count := self._quiet.admits((reason, host), asyncio.get_running_loop().time())):
            log.warning(
                "handshake_failed", port=self._port, remote=host, reason=reason, detail=_words(error), count=count
            )

    def metric(self) -> Metric:
        """Return the metric."""
        return Metric(
            f"{self._port}_handshakes_failed",
            "TLS handshakes that failed.",
            "counter",
            lambda: dict(self.by_reason),
            label="reason",
        )


class OptionalTls:
    """
    Opens the accepted connections of a port: plaintext, or TLS with the server's own certificates.

    Args:
        protocol: Name for ALPN (RFC 7301).
        port: Name of the port, for metrics and the log.
        identities: The server's keys and certificates.
        enabled: False for plaintext.
        most: Upper bound of handshakes under way; one more displaces the one that began first.
    """

    def __init__(self, protocol: str, port: str, identities: Sequence[Identity], *, enabled: bool, most: int) -> None:
        self._context = _context(protocol) if enabled else None
        self._most = most
        self.opening: dict[asyncio.Task[object], None] = {}
        """Connections whose handshake is under way, in the order of their beginning."""
        self.displaced = 0
        """Number of handshakes that another one displaced."""
        self.failures = HandshakeFailures(port)
        self.present(identities)

    def present(self, identities: Sequence[Identity]) -> None:
        """Show new certificates in the handshakes from now on."""
        if self._context is not None:
            for each in identities:
                _load_identity(self._context, each)

    def open(self, accepted: socket.socket, address: Remote, make: Callable[[], asyncio.BaseProtocol]) -> None:
        """Begin the handshake, if any, and then the protocol that ``make`` returns."""
        if len(self.opening) >= self._most:
            self.displaced += 1
            first = next(iter(self.opening))
            del self.opening[first]
            first.cancel()
        loop = asyncio.get_running_loop()
        opening = loop.connect_accepted_socket(
            make, accepted, ssl=self._context, ssl_handshake_timeout=_HANDSHAKE if self._context else None
        )
        task: asyncio.Task[object] = loop.create_task(opening)
        self.opening[task] = None
        task.add_done_callback(partial(self._opened, accepted, address[0]))

    def close(self) -> None:
        """Cut the connections whose handshake is under way."""
        for each in self.opening:
            each.cancel()

    def _opened(self, accepted: socket.socket, host: str, task: asyncio.Task[object]) -> None:
        """Count the failure of a handshake: the client has its alert."""
        self.opening.pop(task, None)
        if task.cancelled():
            accepted.close()  # a task that had not begun has not taken the socket over
            return
        error = task.exception()
        if isinstance(error, OSError) and self._context is not None:
            self.failures.note(error, host)


def _context(protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    return context


def _load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    """Give a context an identity; the ssl module reads files only, and this one is on no disk."""
    descriptor = os.memfd_create("identity")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(identity.key_pem + identity.certificates_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _no_password() -> str:
    raise ValueError("the key has a password; store it without")


def _words(exc: OSError | ValueError) -> str:
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or str(exc)).lower().replace("_", " ")
    return (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)


def _reason_of(error: OSError) -> str:
    """Return the kind of a failed handshake."""
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if isinstance(error, TimeoutError | ConnectionAbortedError):  # asyncio's, after the time for the handshake
        return "timeout"
    if not reason or isinstance(error, ssl.SSLEOFError):
        return "aborted"
    if reason in _NOT_TLS:
        return "notTls"
    if "ALERT" in reason:
        return "clientAlert"
    if reason == "NO_SHARED_CIPHER":
        return "noSharedCipher"
    return "unsupportedVersion" if reason in ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW") else "failed"
