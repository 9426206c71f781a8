"""
Who wants to be let in as a gateway, and what is known against it.

TLS lets everybody pass, so that whoever is refused can be told on the stream; until that is opened,
what is wrong is kept here. The gravest thing that is known is told, once.
"""

from __future__ import annotations

from cryptography import x509

from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.reasons import GatewayRejectedReason
from span_events.listeners.dtls.gate import details_of
from span_events.listeners.gateways.reasons import BAD_CERTIFICATES
from span_events.listeners.gateways.shared import Shared, Stage
from span_events.net import Remote
from span_events.registry.model import Gateway
from span_events.wire.tls.connections import Established

_PATH_SHOWN = 128
Refusal = tuple[GatewayRejectedReason, str]
"""Why somebody is not let in, and what exactly was seen."""


class UnidentifiedClient:
    """One client before it has its control stream."""

    __slots__ = (
        "_bad_path",
        "_began",
        "_certificate",
        "_name",
        "_remote",
        "_shared",
        "has_spoken",
        "refusal",
        "version",
    )

    def __init__(self, shared: Shared, remote: Remote) -> None:
        self._shared = shared
        self._remote = remote
        self._began = shared.clock.monotonic()
        self._certificate: x509.Certificate | None = None
        self._bad_path = ""
        self._name = ""
        self.has_spoken = False
        """Whether anything of HTTP/2 came."""
        self.version = ""
        """Of TLS."""
        self.refusal: Refusal | None = None
        """What stands against it by what TLS has shown."""

    @property
    def serial(self) -> int:
        """Of the certificate whose key is proven."""
        assert self._certificate is not None, "only who shows a certificate is identified"
        return self._certificate.serial_number

    def secure(self, event: Established) -> None:
        """TLS is established: the key of the certificate is proven, nothing else."""
        self._certificate = event.certificate
        self.version = event.version
        self._name = event.foreign_name
        if event.fault is not None:
            self.refusal = BAD_CERTIFICATES[event.fault], event.detail
        elif event.certificate is None:
            self.refusal = GatewayRejectedReason.NO_CREDENTIALS, ""

    def call(self, path: str) -> None:
        """It has called something that is not served."""
        self._bad_path = self._bad_path or path[:_PATH_SHOWN]

    def identify(self) -> Gateway | Refusal:
        """Tell which gateway it is, or why it is none."""
        if self.refusal is not None:
            return self.refusal
        found = self._shared.sessions.identify(self.serial, now_ms=self._shared.clock.time_ns() // 1_000_000)
        return (found, "") if isinstance(found, GatewayRejectedReason) else found

    def idle(self, detail: str) -> Refusal:
        """Tell what is wrong with somebody who never opens the control stream, and has left if there is a detail."""
        if self.refusal is not None:
            return self.refusal
        if self._bad_path:
            return GatewayRejectedReason.BAD_PATH, self._bad_path
        if detail and not self.has_spoken:  # grpcio, for one, looks at the name after the handshake, and says nothing
            asked = f" (it asked for {self._name[:_PATH_SHOWN]})" if self._name else ""
            detail += f", before any HTTP/2: perhaps it does not accept this server's name or certificate{asked}"
        return GatewayRejectedReason.NO_STREAM, detail

    def reject(self, reason: GatewayRejectedReason, detail: str, stage: Stage) -> None:
        """Publish that it is not let in."""
        shared = self._shared
        shared.counters.rejected += 1
        shared.sessions.rejected(
            reason,
            remote=self._remote,
            origin=self._origin(),
            detail=detail or None,
            stage="tcp" if reason is GatewayRejectedReason.OVERLOAD else stage.name.lower(),
            tls_version=self.version or None,
            seconds=int(shared.clock.monotonic() - self._began),
            **details_of(self._certificate)._asdict(),
        )

    def _origin(self) -> Origin:
        """Tell whose the certificate is; one that none of our intermediates has signed says nothing."""
        certificate = self._certificate
        if certificate is None or self._shared.issuer_of(certificate) is None:
            return UNATTRIBUTED
        return self._shared.sessions.origin_of(certificate.serial_number)
