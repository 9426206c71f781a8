"""TLS of the ports for clients of events: HTTP with files that may change, or any port with the server's own."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from span_events.config import HttpConfig
from span_events.errors import ConfigurationError
from span_events.log import get_logger
from span_events.wire.openssl import Identity

log = get_logger("web")

_HANDSHAKE: Final = 10.0
"""Seconds for a TLS handshake of an `OptionalTls`."""
# asyncio reserves 256 KiB to read from each connection: twelve times as much as the rest of an idle stream takes.
# A TLS record has at most 16 KiB.
sslproto.SSLProtocol.max_size = 16_384

PemFiles = Callable[[], tuple[bytes, bytes]]
"""Returns key and certificates of the server's own identity, PEM."""


class HttpTls:
    """
    The context of new connections; those that are open keep theirs.

    Args:
        own: Gives the identity that the server's authority issued; for ``http.tls = "own"``.

    Raises:
        ConfigurationError: A file cannot be read, or is no certificate with its key.
    """

    def __init__(self, config: HttpConfig, own: PemFiles) -> None:
        self._config = config
        self._own = own
        self.context = _context("http/1.1")
        self._seen = self._state()
        try:
            self._load()
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
            self._load()
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

    def _load(self) -> None:
        if self._config.tls == "files":
            self.context.load_cert_chain(self._config.certificate, self._config.key or None, password=_no_password)
            return
        _load_identity(self.context, *self._own())


class OptionalTls:
    """
    Opens the accepted connections of a port: plaintext, or TLS with the server's own certificates.

    Args:
        protocol: Name for ALPN (RFC 7301).
        identities: The server's keys and certificates.
        enabled: False for plaintext.
        most: Upper bound of handshakes under way; one more displaces the one that began first.
    """

    def __init__(self, protocol: str, identities: Sequence[Identity], *, enabled: bool, most: int) -> None:
        self._context = _context(protocol) if enabled else None
        self._most = most
        self.opening: dict[asyncio.Task[object], None] = {}
        """Connections whose handshake is under way, in the order of their beginning."""
        self.displaced = 0
        """Number of handshakes that another one displaced."""
        self.present(identities)

    def present(self, identities: Sequence[Identity]) -> None:
        """Show new certificates in the handshakes from now on."""
        if self._context is not None:
            for each in identities:
                _load_identity(self._context, each.key_pem, each.certificates_pem)

    def open(self, accepted: socket.socket, make: Callable[[], asyncio.BaseProtocol]) -> None:
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
        task.add_done_callback(partial(self._opened, accepted))

    def close(self) -> None:
        """Cut the connections whose handshake is under way."""
        for each in self.opening:
            each.cancel()

    def _opened(self, accepted: socket.socket, task: asyncio.Task[object]) -> None:
        """Drop the failure of a handshake: the client has its alert."""
        self.opening.pop(task, None)
        if task.cancelled():
            accepted.close()  # a task that had not begun has not taken the socket over
        else:
            task.exception()


def _context(protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    return context


def _load_identity(context: ssl.SSLContext, key: bytes, certificates: bytes) -> None:
    """Give a context a key and its certificates, PEM; the ssl module reads files only, and this one is on no disk."""
    descriptor = os.memfd_create("identity")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(key + certificates)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _no_password() -> str:
    raise ValueError("the key has a password; store it without")


def _words(exc: OSError | ValueError) -> str:
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or str(exc)).lower().replace("_", " ")
    return (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
