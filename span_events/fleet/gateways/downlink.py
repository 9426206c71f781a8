"""
Downlink: sends gateways their configuration, the configuration of their devices, and downstream messages.

A session notes only which updates are due; each message is built when the link takes it. So changes that
come faster than a gateway reads cost no memory, and a gateway with more devices than the link's queue can
hold still gets all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from span_events.bus.base import Bus
from span_events.events.activity import Origin, SpanId
from span_events.events.catalogue import GatewayConfigUpdate, GatewayDeviceUpdate, GatewayDownstreamMessage
from span_events.events.message import Transport
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.devices.outbox import Outbox
from span_events.fleet.gateways.session import (
    ConfigDeparture,
    Departure,
    DeviceDeparture,
    GatewaySession,
    MessageDeparture,
    SessionState,
)
from span_events.ids import render
from span_events.proto import gateway_pb2 as pb
from span_events.registry.directory import Directory
from span_events.registry.model import Device, Gateway

_KEEPALIVE: Final = pb.ControlStreamResponse(keepalive_response=pb.KeepaliveResponse())


class Downlink:
    """
    Sends to the connected gateways.

    Args:
        sessions: Sessions by gateway; `GatewaySessions` adds and removes them.
    """

    def __init__(
        self, *, bus: Bus, directory: Directory, outbox: Outbox, sessions: Mapping[int, GatewaySession]
    ) -> None:
        self._bus = bus
        self._directory = directory
        self._outbox = outbox
        self._sessions = sessions

    # ---- requests of gateways -----------------------------------------------------------------

    def configure(self, session: GatewaySession, cause: int) -> None:
        """Send a gateway its configuration, then that of each device, then the waiting downstream messages."""
        session.move(SessionState.CONFIGURED)
        session.update = ("request", cause)
        for device in self._directory.devices_behind(session.gateway):
            session.stale[device.id] = cause
        self.serve(session, cause)

    def serve(self, session: GatewaySession, cause: int) -> None:
        """Send the downstream messages that wait for the devices of a gateway."""
        if session.state is SessionState.NEW:
            session.move(SessionState.READY)
        for device in self._directory.devices_behind(session.gateway):
            if self._outbox.next_for(device) is not None:
                session.owed.setdefault(device.id, cause)
        self.feed(session)

    def answer_keepalive(self, session: GatewaySession) -> None:
        """Answer a keepalive."""
        session.link.send(_KEEPALIVE)
        self.feed(session)

    def ended(self, session: GatewaySession) -> None:
        """Return the messages on their way to a disconnected gateway to the outbox, perhaps for another gateway."""
        carried, session.carried = session.carried, {}
        for message_id in carried:
            self._outbox.returned(message_id)
        for device in carried.values():
            self.deliver(device, None)

    # ---- changes by the API -------------------------------------------------------------------

    def gateway_updated(self, gateway: Gateway, cause: int) -> None:
        """Send a gateway its changed configuration."""
        session = self._sessions.get(gateway.id)
        if session is not None and session.is_configured:
            session.update = ("change", cause)
            self.feed(session)

    def device_created(self, device: Device, cause: int) -> None:
        """Send the configuration of a new device to its gateways."""
        self._refresh(device, device.config.gateways, cause)

    def device_updated(self, device: Device, change: DeviceChange, cause: int) -> None:
        """Send the changed configuration of a device to its gateways, then its waiting messages."""
        changed = change.gateways or {}
        self._call_back(device, {**changed, **device.config.gateways})
        self._refresh(device, {**changed, **device.config.gateways} if change.tags else changed, cause)
        self.deliver(device, cause)

    def device_removed(self, device: Device, cause: int) -> None:
        """Send the removal of a device to its gateways."""
        self._refresh(device, device.config.gateways, cause)

    def deliver(self, device: Device, cause: int | None) -> None:
        """Send a device's waiting messages through a connected gateway, preferably the last one that carried it."""
        session = self._choose(device, cause)
        if session is not None:
            self.feed(session)

    def _choose(self, device: Device, cause: int | None) -> GatewaySession | None:
        """Note a device's waiting messages at one of its sessions, and return that session."""
        if self._outbox.next_for(device) is None:
            return None
        ways = [
            session
            for each in device.config.gateways
            if (session := self._sessions.get(each)) is not None and session.is_ready
        ]
        if ways:
            last = [each for each in ways if each.gateway.id == device.last_gateway_id]
            session = (last or ways)[0]
            session.owed.setdefault(device.id, cause)
            return session
        return None

    # ---- sending ------------------------------------------------------------------------------

    def feed(self, session: GatewaySession) -> None:
        """Report the messages that have left, and send the next ones as far as the link takes them."""
        while not session.is_over:
            is_sent = self._send_next(session)
            departed = session.link.take_departed()
            for each in departed:
                if not session.is_over:
                    session.messages_down += 1
                    self._report(session, each)
            if not is_sent and not departed:
                return

    def _send_next(self, session: GatewaySession) -> bool:
        """Send one message; False if none is due, or the link is full."""
        if session.update is not None:
            return self._send_config(session, *session.update)
        if session.stale:
            return self._send_device(session, *next(iter(session.stale.items())))
        if session.owed:
            return self._send_message(session, *next(iter(session.owed.items())))
        return False

    def _send_config(self, session: GatewaySession, trigger: str, cause: int) -> bool:
        gateway = session.gateway
        config = pb.GatewayConfigUpdate(gateway_id=render(gateway.id), config=gateway.params, tags=gateway.tags)
        message = pb.ControlStreamResponse(gateway_update=config)
        session.update = None
        departure = ConfigDeparture(cause, len(gateway.params), trigger)
        if session.link.send(message, key=gateway.id, departure=departure):
            return True
        session.update = (trigger, cause)
        return False

    def _send_device(self, session: GatewaySession, device_id: int, cause: int) -> bool:
        gateway = session.gateway
        device = self._directory.devices.get(device_id)
        params = device.config.gateways[gateway.id] if device is not None and gateway.carries(device) else {}
        if device is not None and params:  # an empty map crashes clients; a block is never empty
            update = pb.DeviceConfigUpdate(device_id=render(device_id), config=params, tags=device.tags)
            message = pb.ControlStreamResponse(device_update=update)
        elif device_id in session.known:
            message = pb.ControlStreamResponse(device_removed=pb.DeviceRemoved(device_id=render(device_id)))
        else:
            del session.stale[device_id]
            return True
        del session.stale[device_id]
        # An update and a removal have the same key, so that the newer one replaces the waiting one.
        if not session.link.send(message, key=device_id, departure=DeviceDeparture(cause, device_id, len(params))):
            session.stale[device_id] = cause
            session.stale.move_to_end(device_id, last=False)
            return False
        (session.known.add if params else session.known.discard)(device_id)
        return True

    def _send_message(self, session: GatewaySession, device_id: int, cause: int | None) -> bool:
        """Send the first waiting message of a device; the next one follows after its departure."""
        gateway = session.gateway
        del session.owed[device_id]
        device = self._directory.devices.get(device_id)
        if device is None or not gateway.carries(device) or not device.enabled:
            return True
        waiting = self._outbox.next_for(device)
        if waiting is None:
            return True
        if not self._outbox.claims.holds(waiting):
            self._outbox.claimed(waiting, lambda: self._resume(session, device, cause))
            return True
        self._outbox.depart(waiting, session)
        session.carried[waiting.id] = device
        downstream = pb.DownstreamMessage(
            message_id=render(waiting.id), device_id=render(device_id), payload=waiting.payload
        )
        message = pb.ControlStreamResponse(downstream_message=downstream)
        if session.link.send(message, key=waiting.id, departure=MessageDeparture(cause, device, waiting)):
            return True
        self._outbox.returned(waiting.id)
        del session.carried[waiting.id]
        session.owed[device_id] = cause
        session.owed.move_to_end(device_id, last=False)
        return False

    def _resume(self, session: GatewaySession, device: Device, cause: int | None) -> None:
        """Send the message of a device that this node has claimed."""
        if not session.is_over:
            session.owed.setdefault(device.id, cause)
            self.feed(session)

    # ---- departures ---------------------------------------------------------------------------

    def _report(self, session: GatewaySession, departure: Departure) -> None:
        match departure:
            case ConfigDeparture():
                self._report_config(session, departure)
            case DeviceDeparture():
                self._report_device(session, departure)
            case MessageDeparture():
                self._report_message(session, departure)
            case None:
                pass

    def _report_config(self, session: GatewaySession, departure: ConfigDeparture) -> None:
        self._bus.publish(
            GatewayConfigUpdate(
                origin=session.gateway.origin,
                correlation_id=departure.cause,
                session_id=session.id,
                entries=departure.entries,
                trigger=departure.trigger,
            )
        )

    def _report_device(self, session: GatewaySession, departure: DeviceDeparture) -> None:
        self._bus.publish(
            GatewayDeviceUpdate(
                origin=Origin(session.gateway.collection.id, departure.device_id, session.gateway.id),
                correlation_id=departure.cause,
                session_id=session.id,
                entries=departure.entries,
                direction="toGateway" if departure.entries else "removed",
            )
        )

    def _report_message(self, session: GatewaySession, departure: MessageDeparture) -> None:
        """Publish that a downstream message has left; the protocol has no proof that it arrived."""
        device, message, cause = departure.device, departure.message, departure.cause
        del session.carried[message.id]
        self._bus.publish(
            GatewayDownstreamMessage(
                origin=Origin(session.gateway.collection.id, device.id, session.gateway.id),
                correlation_id=cause,
                session_id=session.id,
                bytes=len(message.payload),
                message_id=SpanId(message.id),
            )
        )
        self._outbox.sent(device, message, transport=Transport.GATEWAY, cause=cause, gateway=session.gateway)
        following = self._choose(device, cause)  # another gateway, if this one has lost the device
        if following is not None and following is not session:
            self.feed(following)

    # ---- helpers ------------------------------------------------------------------------------

    def _call_back(self, device: Device, gateway_ids: Mapping[int, object]) -> None:
        """Take back waiting messages from gateways that may carry the device no longer."""
        for gateway_id in gateway_ids:
            session = self._sessions.get(gateway_id)
            if session is None or (session.gateway.carries(device) and device.enabled):
                continue
            for message_id in [each for each, whose in session.carried.items() if whose is device]:
                if session.withdraw(message_id):
                    self._outbox.returned(message_id)

    def _refresh(self, device: Device, gateway_ids: Mapping[int, object], cause: int) -> None:
        for gateway_id in gateway_ids:
            session = self._sessions.get(gateway_id)
            if session is not None and session.is_configured:
                session.stale[device.id] = cause
                self.feed(session)
