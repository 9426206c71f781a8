"""
Clients that are not identified as a gateway yet: their certificate, and the reason to reject them.

TLS accepts every certificate, so that the server can reject a client with a gRPC status on its control
stream. Until the stream opens, the reason is stored here. The most severe reason is published, once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from cryptography import x509

from span_events.events.catalogue import GatewayRejected
from span_events.events.reasons import GatewayRejectedReason
from span_events.fleet import identity
from span_events.fleet.identity import details_of
from span_events.listeners.gateways.reasons import BAD_CERTIFICATES
from span_events.listeners.gateways.shared import Shared, Stage
from span_events.net import Remote, render_remote
from span_events.registry.model import Gateway
from span_events.wire.tls.connections import Established

ALLOWANCE: Final = 131_072
"""Encrypted octets of HTTP/2 accepted before the control stream is open; OpenSSL bounds handshakes."""
_PATH_SHOWN: Final = 128
_HEALTH: Final = "/grpc.health.v1.Health/"
"""Service that load balancers call (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)."""
Refusal = tuple[GatewayRejectedReason, str]
"""Reason for a rejection, and its detail."""


class UnidentifiedClient:
    """A client before its control stream is open."""

    __slots__ = (
        "_bad_path",
        "_began",
        "_certificate",
        "_name",
        "_remote",
        "_shared",
        "_taken",
        "has_spoken",
        "is_held",
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
        self._taken = 0
        self.has_spoken = False
        """True after the first octets of HTTP/2."""
        self.is_held = False
        """True while the registry is asked about the certificate: HTTP/2 waits."""
        self.version = ""
        """Version of TLS."""
        self.refusal: Refusal | None = None
        """Reason to reject the client that the TLS handshake has shown."""

    @property
    def serial(self) -> int:
        """Serial number of the certificate whose key the client has proven."""
        assert self._certificate is not None, "the client has shown a certificate"
        return self._certificate.serial_number

    def secure(self, event: Established, resume: Callable[[], None]) -> None:
        """
        Store the result of the TLS handshake, which proves the key of the certificate and nothing else.

        Args:
            resume: Called once if the client `is_held`, when it is no more.
        """
        self._shared.counters.durations.observe(self._shared.clock.monotonic() - self._began)
        self._certificate = event.certificate
        self.version = event.version
        self._name = event.foreign_name
        if event.fault is not None:
            self.refusal = BAD_CERTIFICATES[event.fault], event.detail
        elif event.certificate is None:
            self.refusal = GatewayRejectedReason.NO_CREDENTIALS, ""
        elif self._shared.identification.owner_of(event.certificate) is None:
            self.is_held = self._shared.identification.questions.hold(
                partial(self._release, resume), host=self._remote[0], octets=0
            )

    def _release(self, resume: Callable[[], None]) -> None:
        self.is_held = False
        resume()

    def may_send(self, count: int) -> bool:
        """Count encrypted octets of HTTP/2; False beyond `ALLOWANCE`, since they cost processor time."""
        self._taken += count
        return self._taken <= ALLOWANCE

    def call(self, path: str) -> None:
        """Note a call of a method that is not served."""
        self._bad_path = self._bad_path or path[:_PATH_SHOWN]

    def identify(self) -> Gateway | Refusal:
        """Return the client's gateway, or the reason to reject the client."""
        if self.refusal is not None:
            return self.refusal
        assert self._certificate is not None, "a client without a certificate is refused above"
        now_ms = self._shared.clock.time_ns() // 1_000_000
        found = self._shared.identification.gateway_of(self._certificate, now_ms=now_ms)
        if isinstance(found, identity.Refusal):
            return found.reason, ""
        conflict = self._shared.sessions.conflict(found)
        return (GatewayRejectedReason.IDENTITY_CONFLICT, conflict) if conflict else found

    def aborted(self, detail: str, *, begin: bytes, has_answered: bool) -> Refusal:
        """
        Return the reason to reject a client that has left before TLS was complete.

        Args:
            begin: The first octets that came.
            has_answered: Whether the client may have received the server's certificate.
        """
        if not begin:
            return GatewayRejectedReason.PORT_CHECK, "TCP was opened and closed without an octet"
        if has_answered:  # grpcio sends no alert when it does not trust our certificate
            detail += " after this server had shown its certificate: perhaps it is not trusted"
        return GatewayRejectedReason.TLS_ABORTED, detail

    def idle(self, detail: str) -> Refusal:
        """Return the reason to reject a client without a control stream; a detail means that the client has left."""
        if detail and self._certificate is None and not self.has_spoken:
            return GatewayRejectedReason.PORT_CHECK, "TLS was opened and closed without a certificate or HTTP/2"
        if detail and self._bad_path.startswith(_HEALTH):
            return GatewayRejectedReason.PORT_CHECK, f"a call of {self._bad_path}"
        if self.refusal is not None:
            return self.refusal
        if self._bad_path:
            return GatewayRejectedReason.BAD_PATH, self._bad_path
        if detail and not self.has_spoken:  # grpcio checks the name after the handshake, and sends no alert
            asked = f" (it asked for {self._name[:_PATH_SHOWN]})" if self._name else ""
            detail += f", before any HTTP/2: perhaps it does not accept this server's name or certificate{asked}"
        return GatewayRejectedReason.NO_STREAM, detail

    def reject(self, reason: GatewayRejectedReason, detail: str, stage: Stage) -> None:
        """Count and publish the rejection."""
        shared = self._shared
        shared.counters.rejected += 1
        event = GatewayRejected(
            origin=shared.identification.origin_of(self._certificate),
            reason=reason,
            remote_address=render_remote(self._remote),
            detail=detail or None,
            stage="tcp" if reason is GatewayRejectedReason.OVERLOAD else stage.name.lower(),
            tls_version=self.version or None,
            seconds=int(shared.clock.monotonic() - self._began),
            **details_of(self._certificate)._asdict(),
        )
        shared.sessions.rejected(event)
