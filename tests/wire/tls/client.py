"""A TLS client in memory, on the standard library: octets in and out, nothing else."""

from __future__ import annotations

import contextlib
import ssl
import tempfile

from tests.bench.certificates import Holder


class TlsClient:
    """
    One client.

    Args:
        holder: Its certificate, if it has one.
        trusted: The root that it believes; it takes any server without one.
        name: The server's, which the client compares with the names in its certificate.
        session: Of an earlier client, to be resumed.
    """

    def __init__(
        self,
        holder: Holder | None = None,
        *,
        trusted: Holder | None = None,
        name: str = "",
        version: ssl.TLSVersion | None = None,
        protocols: tuple[str, ...] = ("h2",),
        whole_chain: bool = True,
        ciphers: str = "",
        earlier: TlsClient | None = None,
    ) -> None:
        self.context: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if earlier is None else earlier.context
        if earlier is None:
            self._prepare(holder, trusted, version, protocols, whole_chain=whole_chain)
            self.context.check_hostname = bool(name)  # most certificates of tests carry no names
        if ciphers:
            self.context.set_ciphers(ciphers)
        self._into, self._from = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = None if earlier is None else earlier.object.session
        self.object: ssl.SSLObject = self.context.wrap_bio(
            self._into, self._from, server_hostname=name or "localhost", session=session
        )
        self.established = False
        self.closed = False
        self.failure = ""
        self.received = bytearray()

    def _prepare(
        self,
        holder: Holder | None,
        trusted: Holder | None,
        version: ssl.TLSVersion | None,
        protocols: tuple[str, ...],
        *,
        whole_chain: bool,
    ) -> None:
        context = self.context
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE if trusted is None else ssl.CERT_REQUIRED
        if trusted is not None:
            context.load_verify_locations(cadata=trusted.pem.decode())
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if holder is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(holder.key_pem + (holder.chain_pem if whole_chain else holder.pem))
                file.flush()
                context.load_cert_chain(file.name)

    def step(self, octets: bytes = b"") -> bytes:
        """Take octets in; return what the client sends then."""
        self._into.write(octets)
        try:
            if not self.established:
                self.object.do_handshake()
                self.established = True
            while True:
                part = self.object.read(65_536)
                if not part:
                    self.closed = True
                    break
                self.received += part
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = True
        except ssl.SSLError as exc:
            self.failure = exc.reason or str(exc)
        return self._from.read()

    def send(self, payload: bytes) -> bytes:
        """Send application data."""
        self.object.write(payload)
        return self._from.read()

    def close(self) -> bytes:
        """Send a close_notify."""
        with contextlib.suppress(ssl.SSLError):  # it would wait for the other's
            self.object.unwrap()
        return self._from.read()

    def take(self) -> bytes:
        """Return the application data that came."""
        received = bytes(self.received)
        self.received.clear()
        return received
