"""Publishes rejected DTLS clients, with all that is known of their handshakes."""

from __future__ import annotations

from typing import Final

from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.catalogue import ClientRejected
from span_events.events.message import Transport
from span_events.events.reasons import ClientRejectedReason
from span_events.fleet.identity import Identification, details_of, show_identity
from span_events.fleet.rejections import Rejections
from span_events.listeners.dtls.client import EXPLAINED, OWN_REASONS
from span_events.listeners.dtls.handshakes import Handshake
from span_events.net import Remote, render_remote
from span_events.wire.dtls.engine import Engine, Failed, Failure
from span_events.wire.dtls.hello import chosen_suite

_OF_RAW_KEYS: Final = frozenset({Failure.CLIENT_ALERT, Failure.NO_CREDENTIALS, Failure.PROTOCOL})
"""Failures of clients that want raw public keys."""
_OF_CLOCKS: Final = frozenset({"bad certificate", "certificate expired", "certificate unknown"})
"""Alerts of clients whose clock may be outside the validity of the server's certificate."""


class Refusals:
    """The rejections of one DTLS server."""

    def __init__(
        self, rejections: Rejections, identification: Identification, engine: Engine, transport: Transport
    ) -> None:
        self._rejections = rejections
        self._engine = engine
        self._identification = identification
        self._transport = transport

    def of_hello(
        self,
        reason: ClientRejectedReason,
        remote: Remote,
        *,
        offered: str | None = None,
        detail: str | None = None,
        is_proven: bool = False,
    ) -> None:
        """
        Publish the rejection of a hello.

        Args:
            is_proven: True if a cookie has proven the address: then the device that has it owns the event.
        """
        origin, by_address = self._owner_of(remote) if is_proven else (UNATTRIBUTED, None)
        self._rejections.client_rejected(
            ClientRejected(
                origin=origin,
                reason=reason,
                remote_address=render_remote(remote),
                transport=self._transport,
                attributed_by=by_address,
                offered=offered,
                detail=detail,
            )
        )

    def of_failure(self, handshake: Handshake, failed: Failed) -> None:
        """Publish the most exact known reason of a failed handshake."""
        hello, failure = handshake.hello, failed.failure
        reason = handshake.client.refusal or OWN_REASONS.get(failure, ClientRejectedReason.HANDSHAKE_FAILED)
        detail = failed.detail or None if failure in EXPLAINED else None
        if hello.wants_raw_key and failure in _OF_RAW_KEYS:
            reason = ClientRejectedReason.RAW_PUBLIC_KEY
        elif failure is Failure.CLIENT_ALERT and failed.detail in _OF_CLOCKS:
            detail = f"{failed.detail}; the server's certificate is valid {self._engine.validity}"
        offered = None
        if failure in (Failure.NO_SHARED_CIPHER, Failure.NO_SHARED_GROUP):
            offered = f"{hello.offered_suites}; groups: {hello.offered_groups}"
        self.of_handshake(
            reason,
            handshake,
            failed=failed,
            offered=offered,
            detail=detail,
            stage=handshake.engine.stage if failure is Failure.PROTOCOL else None,
        )

    def of_handshake(
        self,
        reason: ClientRejectedReason,
        handshake: Handshake,
        *,
        failed: Failed | None = None,
        offered: str | None = None,
        detail: str | None = None,
        stage: str | None = None,
        retransmissions: int | None = None,
        seconds: int | None = None,
    ) -> None:
        """Publish the end of a handshake; one without credentials belongs to the device that has the address."""
        certificate = None if failed is None else failed.certificate
        identity = None if failed is None else failed.psk_identity
        origin: Origin = handshake.client.origin_of(certificate)
        by_address = None
        if origin == UNATTRIBUTED:  # the cookie has proven the address
            origin, by_address = self._owner_of(handshake.remote)
        self._rejections.client_rejected(
            ClientRejected(
                origin=origin,
                reason=reason,
                remote_address=render_remote(handshake.remote),
                transport=self._transport,
                **details_of(certificate)._asdict(),
                identity=None if identity is None else show_identity(identity),
                attributed_by=by_address,
                offered=offered,
                cipher=chosen_suite(handshake.answer),
                detail=detail,
                stage=stage,
                retransmissions=retransmissions,
                seconds=seconds,
            )
        )

    def _owner_of(self, remote: Remote) -> tuple[Origin, str | None]:
        """Return the device to which an address belongs, and how it was found."""
        device = self._identification.device_meant_for(remote[0])
        return (UNATTRIBUTED, None) if device is None else (device.origin, "address")
