"""
Clients of the blob ports: devices identified by address on the HTTP port, by certificate on the HTTPS port.

The validity period of a certificate is checked after the handshake: an expired certificate is refused with an HTTP
status, and the event names the device.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from types import MappingProxyType
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
from span_events.listeners.ports import Ports
from span_events.listeners.tcp import TcpStream
from span_events.listeners.tls import BLOCK, TlsStream
from span_events.metrics import HANDSHAKE_BOUNDS, Histogram
from span_events.net import Remote, render_remote
from span_events.registry.model import Certificate, Device
from span_events.wire.dtls.tls_hello import read_beginning
from span_events.wire.recognition import ProtocolName
from span_events.wire.tls.connections import CertificateFault, Failed, Failure
from span_events.wire.tls.openssl import TlsEngine

_LINGER: Final = 2.0
"""Seconds that a client has to read the fatal alert."""
_HTTP: Final = tuple(f"it begins with b'{method} " for method in ("GET", "HEAD", "POST", "PUT"))
"""Details of an HTTP request in place of a ClientHello."""
TOLERATED: Final = (CertificateFault.NOT_YET_VALID, CertificateFault.EXPIRED)
"""Faults of certificates that are refused after the handshake, with an HTTP status; so the event names the device."""
_FAULTS: Final = MappingProxyType(
    {
        CertificateFault.UNKNOWN_CA: ClientRejectedReason.UNKNOWN_CA,
        CertificateFault.WRONG_PURPOSE: ClientRejectedReason.CERTIFICATE_INVALID,
        CertificateFault.NOT_YET_VALID: ClientRejectedReason.CERTIFICATE_NOT_YET_VALID,
        CertificateFault.EXPIRED: ClientRejectedReason.CERTIFICATE_EXPIRED,
        CertificateFault.INVALID: ClientRejectedReason.CERTIFICATE_INVALID,
    }
)
_FAILURES: Final = MappingProxyType(
    {
        Failure.NOT_TLS: ClientRejectedReason.HANDSHAKE_FAILED,
        Failure.SERVER_REFUSED: ClientRejectedReason.CLIENT_ALERT,
        Failure.CLIENT_ALERT: ClientRejectedReason.CLIENT_ALERT,
        Failure.UNSUPPORTED_VERSION: ClientRejectedReason.UNSUPPORTED_VERSION,
        Failure.NO_SHARED_CIPHER: ClientRejectedReason.NO_SHARED_CIPHER,
        Failure.NO_CERTIFICATE: ClientRejectedReason.NO_CREDENTIALS,
        Failure.PROTOCOL: ClientRejectedReason.HANDSHAKE_FAILED,
    }
)
_EXPLAINED: Final = frozenset({Failure.NOT_TLS, Failure.SERVER_REFUSED, Failure.CLIENT_ALERT, Failure.PROTOCOL})
"""Failures with a detail that adds to the reason."""


class ClientByAddress:
    """A client of the HTTP port: the device with the client's address."""

    transport = Transport.HTTP

    def __init__(self, reception: Reception, identification: Identification, remote: Remote) -> None:
        self._reception = reception
        self._identification = identification
        self._remote = remote

    @property
    def likely_device(self) -> Device | None:
        """The device with the client's address, if there is one."""
        found = self._identification.device_at(self._remote[0])
        return None if isinstance(found, Refusal) else found

    async def admit(self, size: int) -> Device | Reason:
        """Return the device, or the reason to refuse the upload."""
        if self.likely_device is None:
            await self._identification.questions.ask(self._remote[0])
        found = self._reception.identify(self._remote, transport=self.transport, size=size)
        if isinstance(found, MessageRejectedReason):
            return found
        return self._reception.admit(found, self._remote, transport=self.transport, size=size) or found


class PlainAcceptor:
    """Opens the connections of the HTTP port, without a handshake."""

    handshakes: Histogram | None = None
    """None: plain connections have no handshake."""

    def __init__(self, reception: Reception, identification: Identification) -> None:
        self._reception = reception
        self._identification = identification

    async def open(self, accepted: socket.socket, remote: Remote) -> tuple[TcpStream, BlobClient]:
        """Return the stream and the client of an accepted connection."""
        return TcpStream(accepted), ClientByAddress(self._reception, self._identification, remote)


class TlsAcceptor:
    """
    Opens the connections of the HTTPS port: a handshake, with a client certificate that chains to our root.

    Args:
        engine: Engine that tolerates the faults of `TOLERATED`.
        used: Called with the certificate of each admitted client.
        ports: Ports of the other protocols, for clients that speak one.
    """

    def __init__(
        self,
        config: BlobsConfig,
        engine: TlsEngine,
        *,
        reception: Reception,
        identification: Identification,
        used: Callable[[Certificate], None],
        clock: Clock,
        ports: Ports | None = None,
    ) -> None:
        self._handshake_timeout = config.header_timeout
        self._engine = engine
        self._buffer = memoryview(bytearray(BLOCK))
        self._reception = reception
        self._identification = identification
        self._used = used
        self._clock = clock
        self._ports = ports or Ports()
        self._durations = Histogram(*HANDSHAKE_BOUNDS)
        self.handshakes: Histogram | None = self._durations
        """Seconds of the handshakes that led to a client."""

    async def open(self, accepted: socket.socket, remote: Remote) -> tuple[TcpStream, BlobClient] | None:
        """Do the handshake; None after a failed handshake, which is published."""
        stream = TlsStream(accepted, self._engine, self._buffer)
        client, began = None, self._clock.monotonic()
        try:
            found = await self._shake_hands(stream)
            if isinstance(found, x509.Certificate):
                self._durations.observe(self._clock.monotonic() - began)
                client = ClientByCertificate(
                    found,
                    remote,
                    reception=self._reception,
                    identification=self._identification,
                    used=self._used,
                    clock=self._clock,
                )
            elif stream.begin:  # otherwise a port scan, which is not published
                reason, detail, seconds = found
                offered = _offered(stream.begin, reason)
                has_agreed = stream.has_answered and offered is None  # else the answer was an alert
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
                    offered=offered,
                    stage=None if mark is not None else "ServerHello" if has_agreed else "ClientHello",
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

    async def _shake_hands(
        self, stream: TlsStream
    ) -> x509.Certificate | tuple[ClientRejectedReason, str | None, int | None]:
        """Return the client's certificate, or reason, detail and, after a timeout, seconds of a failed handshake."""
        try:
            async with asyncio.timeout(self._handshake_timeout):
                result = await stream.shake_hands()
        except TimeoutError:
            return ClientRejectedReason.HANDSHAKE_TIMEOUT, None, int(self._handshake_timeout)
        except OSError as exc:
            return ClientRejectedReason.HANDSHAKE_FAILED, exc.strerror, None
        if result is None:
            return ClientRejectedReason.HANDSHAKE_FAILED, "the client closed the connection", None
        if isinstance(result, Failed):
            return *_refusal(result), None
        if result.certificate is None:  # OpenSSL reads it, but it is not DER
            return ClientRejectedReason.CERTIFICATE_INVALID, result.detail, None
        return result.certificate


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

    async def admit(self, size: int) -> Device | Reason:
        """Return the device, or the reason to refuse the upload."""
        if self._identification.owner_of(self._certificate) is None:
            await self._identification.questions.ask(self._remote[0])
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


def _refusal(failed: Failed) -> tuple[ClientRejectedReason, str | None]:
    """Return the reason of a failed handshake, and its detail if that adds to the reason."""
    if failed.fault is not None:
        reason = _FAULTS[failed.fault]
        return reason, failed.detail if reason is ClientRejectedReason.CERTIFICATE_INVALID else None
    if failed.failure is Failure.NOT_TLS and failed.detail.startswith(_HTTP):
        return ClientRejectedReason.HANDSHAKE_FAILED, "this is HTTP without TLS; that has a port of its own"
    return _FAILURES[failed.failure], failed.detail if failed.failure in _EXPLAINED else None


def _offered(begin: bytes, reason: ClientRejectedReason) -> str | None:
    """Return the offer of a client that the server could not accept; None for other reasons."""
    hello = read_beginning(begin)
    if hello is None:
        return None
    if reason is ClientRejectedReason.NO_SHARED_CIPHER:
        return hello.offered_suites
    return hello.offered_versions if reason is ClientRejectedReason.UNSUPPORTED_VERSION else None
