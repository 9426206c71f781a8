"""
Clients of the blob ports: devices identified by address on the HTTP port, by certificate on the HTTPS port.

The ssl module reports why a handshake failed, but not which certificate the client presented. So the validity period is
checked after the handshake: an expired certificate is refused with an HTTP status, and the event names the device.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from cryptography import x509

from span_events.clock import Clock
from span_events.config import BlobsConfig
from span_events.events.activity import UNATTRIBUTED, Reason
from span_events.events.catalogue import ClientRejected
from span_events.events.message import Transport
from span_events.events.reasons import ClientRejectedReason, MessageRejectedReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.identity import Identification, Refusal
from span_events.listeners.blobs.upload import BlobClient
from span_events.listeners.dtls.client import EXPLAINED, OWN_REASONS
from span_events.listeners.ports import Ports
from span_events.listeners.tcp import TcpStream, TlsStream
from span_events.net import Remote, render_remote
from span_events.registry.directory import Directory
from span_events.registry.model import Certificate, Device
from span_events.wire.dtls.engine import Failure
from span_events.wire.dtls.openssl import certificate_failure_of, failure_of
from span_events.wire.openssl import Identity, cause_of
from span_events.wire.recognition import ProtocolName

_LINGER: Final = 2.0
"""Seconds that a client has to read the fatal alert."""
_WITHOUT_TLS: Final = "http request"
"""OpenSSL's words for an HTTP request in place of a ClientHello."""
_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name."""


class ClientByAddress:
    """A client of the HTTP port: the device with the client's address."""

    transport = Transport.HTTP

    def __init__(self, reception: Reception, directory: Directory, remote: Remote) -> None:
        self._reception = reception
        self._directory = directory
        self._remote = remote

    @property
    def likely_device(self) -> Device | None:
        """The device with the client's address, if there is one."""
        return self._directory.device_at(self._remote[0])

    def admit(self, size: int) -> Device | Reason:
        """Return the device, or the reason to refuse the upload."""
        found = self._reception.identify(self._remote, transport=self.transport, size=size)
        if isinstance(found, MessageRejectedReason):
            return found
        return self._reception.admit(found, self._remote, transport=self.transport, size=size) or found


class PlainAcceptor:
    """Opens the connections of the HTTP port, without a handshake."""

    def __init__(self, reception: Reception, directory: Directory) -> None:
        self._reception = reception
        self._directory = directory

    async def open(self, accepted: socket.socket, remote: Remote) -> tuple[TcpStream, BlobClient]:
        """Return the stream and the client of an accepted connection."""
        return TcpStream(accepted), ClientByAddress(self._reception, self._directory, remote)


class TlsAcceptor:
    """
    Opens the connections of the HTTPS port: a handshake, with a client certificate that chains to our root.

    Args:
        identities: Keys and certificates of the server, one per kind of key; `present` replaces them.
        trusted_pem: The root, and intermediates that clients may leave out.
        used: Called with the certificate of each admitted client.
        ports: Ports of the other protocols, for clients that speak one.
    """

    def __init__(
        self,
        config: BlobsConfig,
        identities: Sequence[Identity],
        trusted_pem: bytes,
        *,
        reception: Reception,
        identification: Identification,
        used: Callable[[Certificate], None],
        clock: Clock,
        ports: Ports | None = None,
    ) -> None:
        self._handshake_timeout = config.header_timeout
        self._reception = reception
        self._identification = identification
        self._used = used
        self._clock = clock
        self._ports = ports or Ports()
        self._trusted = trusted_pem
        self.present(identities)

    def present(self, identities: Sequence[Identity]) -> None:
        """Replace the server's certificates; open connections keep the previous ones."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= _NO_CHECK_TIME
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0  # each client presents its certificate
        for identity in identities:
            with tempfile.NamedTemporaryFile() as file:  # the ssl module reads files only; mode 0600
                file.write(identity.key_pem + identity.certificates_pem)
                file.flush()
                context.load_cert_chain(file.name)
        context.load_verify_locations(cadata=self._trusted.decode())
        self._context = context

    def trust(self, certificates_pem: bytes) -> None:
        """Add intermediates that clients may leave out."""
        self._trusted += certificates_pem
        self._context.load_verify_locations(cadata=certificates_pem.decode())

    async def open(self, accepted: socket.socket, remote: Remote) -> tuple[TcpStream, BlobClient] | None:
        """Do the handshake; None after a failed handshake, which is published."""
        stream = TlsStream(accepted, self._context)
        client = None
        try:
            failure = await self._shake_hands(stream)
            if failure is None:
                client = ClientByCertificate(
                    x509.load_der_x509_certificate(stream.peer_certificate or b""),
                    remote,
                    reception=self._reception,
                    identification=self._identification,
                    used=self._used,
                    clock=self._clock,
                )
            elif stream.begin:  # otherwise a port scan, which is not published
                reason, detail, seconds = failure
                mark = self._ports.mark(stream.begin, served=ProtocolName.TLS)
                if mark is not None:
                    reason, detail = ClientRejectedReason.WRONG_PROTOCOL, mark.detail
                event = ClientRejected(
                    origin=UNATTRIBUTED,
                    reason=reason,
                    remote_address=render_remote(remote),
                    transport=Transport.HTTPS,
                    detail=detail,
                    looks_like=None if mark is None else mark.looks_like,
                    expected_port=None if mark is None else mark.expected_port,
                    seconds=seconds,
                )
                self._reception.rejections.client_rejected(event)
                with suppress(OSError):
                    await stream.end()
                await stream.linger(_LINGER)
        finally:
            if client is None:
                stream.close()
        return None if client is None else (stream, client)

    async def _shake_hands(self, stream: TlsStream) -> tuple[ClientRejectedReason, str | None, int | None] | None:
        """Return the reason, the detail and, after a timeout, the seconds of a failed handshake, else None."""
        try:
            async with asyncio.timeout(self._handshake_timeout):
                await stream.shake_hands()
        except TimeoutError:
            return ClientRejectedReason.HANDSHAKE_TIMEOUT, None, int(self._handshake_timeout)
        except ssl.SSLCertVerificationError as exc:
            return *_reason(certificate_failure_of(exc.verify_code), exc.verify_message), None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return ClientRejectedReason.HANDSHAKE_FAILED, "the client closed the connection", None
        except ssl.SSLError as exc:
            words = (exc.reason or "").lower().replace("_", " ")
            if words == _WITHOUT_TLS:
                words = "this is HTTP without TLS; that has a port of its own"
            return *_reason(*failure_of(cause_of(words))), None
        except OSError as exc:
            return ClientRejectedReason.HANDSHAKE_FAILED, exc.strerror, None
        return None


class ClientByCertificate:
    """A client of the HTTPS port: the device that owns the client's certificate."""

    transport = Transport.HTTPS

    def __init__(
        self,
        certificate: x509.Certificate,
        remote: Remote,
        *,
        reception: Reception,
        identification: Identification,
        used: Callable[[Certificate], None],
        clock: Clock,
    ) -> None:
        self._certificate = certificate
        self._remote = remote
        self._reception = reception
        self._identification = identification
        self._used = used
        self._clock = clock

    @property
    def likely_device(self) -> Device | None:
        """The device that the certificate was issued to, if the device still exists."""
        found = self._identification.device_of(self._certificate)
        return found.device if isinstance(found, Refusal) else found

    def admit(self, size: int) -> Device | Reason:
        """Return the device, or the reason to refuse the upload."""
        found = self._identification.device_of(self._certificate, now_ms=self._clock.time_ns() // 1_000_000)
        if isinstance(found, Refusal):
            event = ClientRejected(
                origin=found.origin,
                reason=found.reason,
                remote_address=render_remote(self._remote),
                transport=self.transport,
                **found.details._asdict(),
            )
            self._reception.rejections.client_rejected(event)
            return found.reason
        record = self._identification.record_of(self._certificate)
        assert record is not None, "only certificates in the registry are admitted"
        self._used(record)
        return self._reception.admit(found, self._remote, transport=self.transport, size=size) or found


def _reason(failure: Failure, detail: str) -> tuple[ClientRejectedReason, str | None]:
    return OWN_REASONS[failure], detail if failure in EXPLAINED else None
