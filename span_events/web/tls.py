"""TLS of the HTTP port: certificate and key from files that may change, or the server's own."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

from span_events.config import HttpConfig
from span_events.errors import ConfigurationError
from span_events.log import get_logger

log = get_logger("web")

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
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
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
        load_identity(self.context, *self._own())


def load_identity(context: ssl.SSLContext, key: bytes, certificates: bytes) -> None:
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
