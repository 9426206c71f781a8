"""
What gateways are sent: their configuration, that of their devices, and messages for devices.

What a gateway must be told is only noted, and written as it is when the link takes it. So changes that
come faster than a gateway reads cost no memory, and a gateway with more devices than the link's queue
has room for gets them all, one queue after the other.
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
from span_events.fleet.gateways.session import GatewaySession
from span_events.ids import render
from span_events.proto import gateway_pb2 as pb
from span_events.registry.directory import Directory
from span_events.registry.model import Device, Downstream, Gateway

_KEEPALIVE: Final = pb.ControlStreamResponse(keepalive_response=pb.KeepaliveResponse())


class _Leaving:
    """What follows when a message has left; it waits as long as the message, so it is small; its event is made then."""

    __slots__ = ("_feed", "_session")

    def __init__(self, feed: Downlink, session: GatewaySession) -> None:
        self._feed = feed
        self._session = session

    def __call__(self) -> None:
        """The last octet was given to the kernel."""
        session = self._session
        if not session.is_over:
            session.messages_down += 1
            self._tell(self._feed, session)
            self._feed.feed(session)

    def _tell(self, feed: Downlink, session: GatewaySession) -> None:
        """Tell what has left, if anybody wants to know."""


class _ConfigLeaving(_Leaving):
    __slots__ = ("cause", "entries", "trigger")

    def __init__(self, feed: Downlink, session: GatewaySession, cause: int, *, entries: int, trigger: str) -> None:
        super().__init__(feed, session)
        self.cause = cause
        self.entries = entries
        self.trigger = trigger

    def _tell(self, feed: Downlink, session: GatewaySession) -> None:
        feed.told_config(session, self.cause, entries=self.entries, trigger=self.trigger)


class _DeviceLeaving(_Leaving):
    __slots__ = ("cause", "device_id", "entries")

    def __init__(self, feed: Downlink, session: GatewaySession, cause: int, device_id: int, entries: int) -> None:
        super().__init__(feed, session)
        self.cause = cause
        self.device_id = device_id
        self.entries = entries

    def _tell(self, feed: Downlink, session: GatewaySession) -> None:
        feed.told_device(session, self.cause, self.device_id, self.entries)


class _MessageLeaving(_Leaving):
    __slots__ = ("cause", "device", "message")

    def __init__(
        self, feed: Downlink, session: GatewaySession, cause: int | None, device: Device, message: Downstream
    ) -> None:
        super().__init__(feed, session)
        self.cause = cause
        self.device = device
        self.message = message

    def _tell(self, feed: Downlink, session: GatewaySession) -> None:
        feed.delivered(session, self.device, self.message, self.cause)


class Downlink:
    """
    Sends to the gateways that are connected.

    Args:
        sessions: By gateway; whoever owns them adds and removes.
    """

    def __init__(
        self, *, bus: Bus, directory: Directory, outbox: Outbox, sessions: Mapping[int, GatewaySession]
    ) -> None:
        self._bus = bus
        self._directory = directory
        self._outbox = outbox
        self._sessions = sessions

    # ---- what gateways do ---------------------------------------------------------------------

    def configure(self, session: GatewaySession, cause: int) -> None:
        """Tell a gateway everything: itself, then each of its devices, then what waits for them."""
        session.is_configured = True
        session.update = ("request", cause)
        for device in self._directory.devices_behind(session.gateway):
            session.stale[device.id] = cause
        self.serve(session, cause)

    def serve(self, session: GatewaySession, cause: int) -> None:
        """Send what waits for the devices of a gateway that can take it now."""
        session.is_ready = True
        for device in self._directory.devices_behind(session.gateway):
            if self._outbox.next_for(device) is not None:
                session.owed.setdefault(device.id, cause)
        self.feed(session)

    def answer_keepalive(self, session: GatewaySession) -> None:
        """Tell a gateway that we are there."""
        session.link.send(_KEEPALIVE, sent=_Leaving(self, session))

    def ended(self, session: GatewaySession) -> None:
        """A gateway is gone: what was on the way to it waits again, perhaps for another way."""
        carried, session.carried = session.carried, {}
        for message_id in carried:
            self._outbox.returned(message_id)
        for device in carried.values():
            self.deliver(device, None)

    # ---- what the API does --------------------------------------------------------------------

    def gateway_updated(self, gateway: Gateway, cause: int) -> None:
        """The configuration of a gateway is another one."""
        session = self._sessions.get(gateway.id)
        if session is not None and session.is_configured:
            session.update = ("change", cause)
            self.feed(session)

    def device_created(self, device: Device, cause: int) -> None:
        """A device is new."""
        self._refresh(device, device.config.gateways, cause)

    def device_updated(self, device: Device, change: DeviceChange, cause: int) -> None:
        """A device was changed; its gateways are told what is theirs, and get what waits for it."""
        changed = change.gateways or {}
        self._call_back(device, {**changed, **device.config.gateways})
        self._refresh(device, {**changed, **device.config.gateways} if change.tags else changed, cause)
        self.deliver(device, cause)

    def device_removed(self, device: Device, cause: int) -> None:
        """A device is gone."""
        self._refresh(device, device.config.gateways, cause)

    def deliver(self, device: Device, cause: int | None) -> None:
        """Send what waits for a device if one of its gateways is connected: best the one that it came through last."""
        if self._outbox.next_for(device) is None:
            return
        ways = [
            session
            for each in device.config.gateways
            if (session := self._sessions.get(each)) is not None and session.is_ready
        ]
        if ways:
            last = [each for each in ways if each.gateway.id == device.last_gateway_id]
            session = (last or ways)[0]
            session.owed.setdefault(device.id, cause)
            self.feed(session)

    # ---- one after the other ------------------------------------------------------------------

    def feed(self, session: GatewaySession) -> None:
        """Send what is noted, as far as the link takes it; what it sends calls this again."""
        if session.is_feeding:
            return
        session.is_feeding = True
        try:
            while not session.is_over and self._send_next(session):
                pass
        finally:
            session.is_feeding = False

    def _send_next(self, session: GatewaySession) -> bool:
        """Send one thing; False if nothing is noted, or the link is full."""
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
        leaving = _ConfigLeaving(self, session, cause, entries=len(gateway.params), trigger=trigger)
        if session.link.send(message, key=gateway.id, sent=leaving):
            return True
        session.update = (trigger, cause)
        return False

    def _send_device(self, session: GatewaySession, device_id: int, cause: int) -> bool:
        gateway = session.gateway
        device = self._directory.devices.get(device_id)
        params = device.config.gateways[gateway.id] if device is not None and gateway.carries(device) else {}
        if device is not None and params:  # an empty map makes clients crash; a block is never empty
            update = pb.DeviceConfigUpdate(device_id=render(device_id), config=params, tags=device.tags)
            message = pb.ControlStreamResponse(device_update=update)
        elif device_id in session.known:
            message = pb.ControlStreamResponse(device_removed=pb.DeviceRemoved(device_id=render(device_id)))
        else:
            del session.stale[device_id]
            return True
        del session.stale[device_id]
        # The newest wins also where one that waits says the opposite: so both have the same key.
        leaving = _DeviceLeaving(self, session, cause, device_id, len(params))
        if not session.link.send(message, key=device_id, sent=leaving):
            session.stale[device_id] = cause
            session.stale.move_to_end(device_id, last=False)
            return False
        (session.known.add if params else session.known.discard)(device_id)
        return True

    def _send_message(self, session: GatewaySession, device_id: int, cause: int | None) -> bool:
        """Send the first message that waits for a device; the next one follows when it has left."""
        gateway = session.gateway
        del session.owed[device_id]
        device = self._directory.devices.get(device_id)
        if device is None or not gateway.carries(device) or not device.enabled:
            return True
        waiting = self._outbox.next_for(device)
        if waiting is None:
            return True
        self._outbox.depart(waiting, session)
        session.carried[waiting.id] = device
        message = pb.DownstreamMessage(
            message_id=render(waiting.id), device_id=render(device_id), payload=waiting.payload
        )
        leaving = _MessageLeaving(self, session, cause, device, waiting)
        if session.link.send(pb.ControlStreamResponse(downstream_message=message), key=waiting.id, sent=leaving):
            return True
        self._outbox.returned(waiting.id)
        del session.carried[waiting.id]
        session.owed[device_id] = cause
        session.owed.move_to_end(device_id, last=False)
        return False

    # ---- what has left ------------------------------------------------------------------------

    def told_config(self, session: GatewaySession, cause: int, *, entries: int, trigger: str) -> None:
        """A gateway was sent its own configuration."""
        self._bus.publish(
            GatewayConfigUpdate(
                origin=session.gateway.origin,
                correlation_id=cause,
                session_id=session.id,
                entries=entries,
                trigger=trigger,
            )
        )

    def told_device(self, session: GatewaySession, cause: int, device_id: int, entries: int) -> None:
        """A gateway was sent the configuration of a device, or, without entries, that there is none any more."""
        self._bus.publish(
            GatewayDeviceUpdate(
                origin=Origin(session.gateway.collection.id, device_id, session.gateway.id),
                correlation_id=cause,
                session_id=session.id,
                entries=entries,
                direction="toGateway" if entries else "removed",
            )
        )

    def delivered(self, session: GatewaySession, device: Device, message: Downstream, cause: int | None) -> None:
        """A message has left to a gateway; there is no proof that it arrived."""
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
        self.deliver(device, cause)  # the next one: perhaps through another gateway, if this one has lost the device

    # ---- parts --------------------------------------------------------------------------------

    def _call_back(self, device: Device, gateway_ids: Mapping[int, object]) -> None:
        """Let nothing go to a gateway that may not have it any more, unless it has left."""
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
