"""Uplink: processes the messages of gateways: requests, upstream messages, and reports."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from span_events import ids
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.errors import InvalidRequest
from span_events.events.catalogue import GatewayCommError, GatewayDeviceUpdate
from span_events.events.message import Transport
from span_events.events.reasons import GatewayReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.gateways.downlink import Downlink
from span_events.fleet.gateways.session import GatewaySession
from span_events.fleet.summaries import Summaries
from span_events.proto import gateway_pb2 as pb
from span_events.registry.directory import Directory
from span_events.registry.limits import control_in, excess_of
from span_events.registry.model import Device, Gateway

_AGAIN: Final = 1.0
"""Smallest number of seconds between two complete configurations of a gateway."""
_ID_SHOWN: Final = 40
"""Largest number of characters of a reported device id in an event."""


class Uplink:
    """Processes the messages of gateways; a faulty message is published as a warning, and the stream continues."""

    def __init__(
        self,
        *,
        bus: Bus,
        directory: Directory,
        reception: Reception,
        downlink: Downlink,
        warnings: Summaries,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._directory = directory
        self._reception = reception
        self._downlink = downlink
        self._warnings = warnings
        self._clock = clock
        self.changed: set[Gateway] = set()
        """Gateways whose reported metadata is not in the store yet."""

    def take(self, session: GatewaySession, message: pb.ControlStreamRequest) -> None:
        """Process a message by its kind."""
        match message.WhichOneof("msg"):
            case "config":
                self.configure(session)
            case "upstream_message":
                self._pass_on(session, message)
            case "keepalive":
                self._downlink.answer_keepalive(session)
            case "gateway_metadata":
                self._report(session, message.gateway_metadata)
            case "device_update":
                self._update_device(session, message)
            case _:
                error = "a ControlStreamRequest without a part that we know"
                self.warn(session, GatewayReason.UNKNOWN_MESSAGE, error)

    def warn(
        self,
        session: GatewaySession,
        reason: GatewayReason,
        error: str,
        *,
        device: str | None = None,
        seconds: int | None = None,
        cause: str | None = None,
    ) -> None:
        """
        Publish a warning about a gateway whose stream continues, and count its repetitions.

        Args:
            device: Device as named by the gateway.
            seconds: Silence that was noticed.
            cause: Tells this fault from others with the same reason; None for ``error``.
        """
        event = GatewayCommError(
            origin=session.gateway.origin,
            session_id=session.id,
            error=error,
            reason=reason,
            seconds=seconds,
            device=device,
        )
        kind = error if cause is None and not seconds else cause
        self._warnings.publish(event, session.gateway.id, reason.value, (device, kind))

    def configure(self, session: GatewaySession) -> None:
        """Send a gateway the complete configuration now, or later if the last one is less than a second old."""
        now = self._clock.monotonic()
        session.asks_again = session.is_configured and now - session.configured_at < _AGAIN
        if not session.asks_again:
            session.configured_at = now
            self._downlink.configure(session, self._cause())

    def _take_again(self, session: GatewaySession, message: pb.ControlStreamRequest) -> None:
        if not session.is_over:
            self.take(session, message)

    def _pass_on(self, session: GatewaySession, request: pb.ControlStreamRequest) -> None:
        message = request.upstream_message
        device = self._device_of(session, message.device_id, request)
        if device is None or self._is_refused(session, device, size=len(message.payload)):
            return
        message_id = self._reception.received_through(
            session.gateway,
            device,
            message.payload,
            remote=session.remote,
            session_id=session.id,
            metadata=self._within_limits(session, message.metadata, device),
        )
        if message_id is not None and not session.is_ready:
            self._downlink.serve(session, message_id)

    def _report(self, session: GatewaySession, update: pb.GatewayMetadataUpdate) -> None:
        metadata = self._within_limits(session, update.metadata)
        if metadata:
            session.gateway.reported = metadata
            session.gateway.reported_ms = self._clock.time_ns() // 1_000_000
            self.changed.add(session.gateway)

    def _update_device(self, session: GatewaySession, request: pb.ControlStreamRequest) -> None:
        """Store a changed report about a device; an empty part changes nothing, since no block is empty."""
        update = request.device_update
        device, gateway = self._device_of(session, update.device_id, request), session.gateway
        if device is None or self._is_refused(session, device, size=update.ByteSize()):
            return
        config = self._within_limits(session, update.config, device)
        metadata = self._within_limits(session, update.metadata, device)
        known = device.gateway
        is_configured = bool(config) and config != device.config.gateways[gateway.id]
        if not is_configured and known.gateway_id == gateway.id and (not metadata or metadata == known.params):
            return
        if is_configured:
            device.config.gateways[gateway.id] = config
        self._reception.reported(gateway, device, metadata)
        self._bus.publish(
            GatewayDeviceUpdate(
                origin=gateway.origin_with(device),
                correlation_id=self._cause(),
                session_id=session.id,
                entries=len(config),
                direction="fromGateway",
            )
        )

    def _is_refused(self, session: GatewaySession, device: Device, *, size: int) -> bool:
        """Return True, and publish the reason, if a device is disabled or too fast."""
        refusal = self._reception.admit(
            device, session.remote, transport=Transport.GATEWAY, size=size, gateway=session.gateway
        )
        return refusal is not None

    def _device_of(self, session: GatewaySession, text: str, request: pb.ControlStreamRequest) -> Device | None:
        """
        Return a device behind a gateway, or warn without revealing whether another collection has it.

        Args:
            request: Taken again instead, after the registry was asked for changes of other nodes.
        """
        gateway = session.gateway
        device_id: int | None = None
        try:
            device_id = ids.parse(text, what="device")
            error = f"there is no device {text} in the gateway's collection"
        except InvalidRequest as exc:
            error = exc.detail
        device = None if device_id is None else self._directory.devices.get(device_id)
        if device is not None and gateway.carries(device):
            return device
        again = partial(self._take_again, session, request)
        host, size = session.remote[0], request.ByteSize()
        if device_id is not None and self._reception.questions.hold(again, host=host, octets=size):
            return None
        near = device if device is not None and device.collection is gateway.collection else None
        if near is not None:
            error = f"device {text} has no block for this gateway"
        self.warn(session, GatewayReason.UNKNOWN_DEVICE, error, device=text[:_ID_SHOWN])
        return None

    def _within_limits(
        self, session: GatewaySession, entries: Mapping[str, str], device: Device | None = None
    ) -> dict[str, str]:
        """Return reported entries if all are within the limits, else warn and return none."""
        excess = excess_of(entries)
        flaw = excess or control_in(entries)
        if not flaw:
            return dict(entries)
        reason = GatewayReason.LIMIT_EXCEEDED if excess else GatewayReason.MALFORMED
        self.warn(session, reason, flaw, device=None if device is None else ids.render(device.id))
        return {}

    def _cause(self) -> int:
        """Return an identifier for a message other than an upstream message."""
        return self._bus.new_id()
