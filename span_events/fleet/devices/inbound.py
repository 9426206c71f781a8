"""
Reception: identifies and admits devices, and accepts their messages.

Each public method handles one occurrence: it changes the state and publishes the events. Listeners
call plain functions that never raise and never await. Fields that change with each message (last payload,
counters) are written to the registry in batches (`Reception.flush`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

from span_events.bounded.rates import RateLimits
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import MessagesConfig, RejectionsConfig, SessionsConfig
from span_events.events.activity import Moment, SpanId
from span_events.events.catalogue import (
    GatewayUpstreamMessage,
    UpstreamMessage,
)
from span_events.events.marks import Mark
from span_events.events.message import Message, Transport
from span_events.events.reasons import DisconnectReason, MessageRejectedReason
from span_events.fleet.devices.inbox import Inbox
from span_events.fleet.devices.sessions import Session, Sessions
from span_events.fleet.identity import Identification, Refusal, reason_against
from span_events.fleet.rejections import Rejections
from span_events.metrics import Measure, Metric
from span_events.net import Remote
from span_events.registry.model import Device, Gateway
from span_events.registry.registry import Registry


class Reception:
    """Accepts or rejects all input of devices."""

    def __init__(
        self,
        *,
        messages: MessagesConfig,
        sessions: SessionsConfig,
        rejections: RejectionsConfig,
        bus: Bus,
        registry: Registry,
        identification: Identification,
        clock: Clock,
    ) -> None:
        self._config = messages
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self._identification = identification
        self.questions = identification.questions
        self.device_at = identification.device_at
        """Returns the device with an address; see `Identification`. For datagrams: `hold_or_reject` follows."""
        self._clock = clock
        self.sessions = Sessions(sessions, bus=bus, directory=registry.directory, clock=clock, changed=self.changed)
        """Client sessions."""
        self._rates = RateLimits(messages.rate, messages.burst)
        self._block_rates = RateLimits(messages.block_rate, messages.block_rate)
        self._changed: set[Device] = set()
        self._being_written: set[Device] = set()
        self._accepted: dict[Transport, list[int]] = {
            each: [0, 0] for each in Transport if each is not Transport.UNSPECIFIED
        }
        """Number and octets of accepted messages."""
        self.inbox = Inbox(
            per_collection=messages.inbox_per_collection, octets=messages.inbox_octets, born=bus.new_id()
        )
        self.rejections = Rejections(rejections, bus=bus, clock=clock)
        """Rejected messages and clients."""

    def metrics(self) -> list[Measure]:
        """List what is counted."""
        return [
            Metric(
                "inbox_bytes",
                "Bytes of messages in memory; at most messages.inbox_octets.",
                "gauge",
                lambda: self.inbox.octets,
            ),
            Metric("sessions", "Devices that are connected.", "gauge", lambda: len(self.sessions)),
            Metric(
                "messages_received",
                "Messages that were accepted.",
                "counter",
                lambda: {transport: count for transport, (count, _) in self._accepted.items()},
                label="transport",
            ),
            Metric(
                "messages_received_bytes",
                "Payload of the messages that were accepted.",
                "counter",
                lambda: {transport: size for transport, (_, size) in self._accepted.items()},
                label="transport",
            ),
            Metric(
                "registry_unwritten_devices",
                "Devices whose last changes the registry does not hold yet.",
                "gauge",
                lambda: len(self._changed) + len(self._being_written),
            ),
            *self.rejections.metrics(),
        ]

    # ---- called by listeners ------------------------------------------------------------------

    def identify(
        self, remote: Remote, *, transport: Transport, size: int, mark: Mark | None = None
    ) -> Device | MessageRejectedReason:
        """
        Return the device at an address, or the reason of the rejection.

        The rejection is published here (throttled per address or device).

        Args:
            mark: Peculiarity of the message, for the rejection.
        """
        found = self._identification.device_at(remote[0])
        if not isinstance(found, Refusal):
            return found
        return self._reject_stranger(found, remote, transport, size, mark)

    def is_at(self, device: Device, remote: Remote) -> bool:
        """Return whether a device is enabled and has an address: since its datagram, either may have changed."""
        return reason_against(device) is None and self.device_at(remote[0]) is device

    def hold_or_reject(
        self,
        found: Refusal[MessageRejectedReason],
        datagram: bytes,
        remote: Remote,
        again: Callable[[bytes, Remote], None],
        *,
        transport: Transport,
        mark: Mark | None = None,
    ) -> MessageRejectedReason | None:
        """
        Return the reason of the rejection of a datagram for which `device_at` found no device; None if it is held.

        Args:
            again: Called with a held datagram, after the registry was asked for changes of other nodes.
        """
        size = len(datagram)
        if self.questions.hold(partial(again, datagram, remote), host=remote[0], octets=size):
            return None
        return self._reject_stranger(found, remote, transport, size, mark)

    def admit(
        self, device: Device, remote: Remote, *, transport: Transport, size: int, gateway: Gateway | None = None
    ) -> MessageRejectedReason | None:
        """
        Return None if a device may send now, else the reason, and publish the rejection (throttled).

        Args:
            gateway: Gateway that forwards the message, if any.
        """
        reason = reason_against(device)
        if reason is None:
            if self._rates.admits(device.id, self._clock.monotonic()):
                return None
            self.rejections.rejected(
                MessageRejectedReason.RATE_LIMITED,
                device=device,
                remote=remote,
                transport=transport,
                limit=int(self._config.rate) or 1,
                gateway=gateway,
            )
            return MessageRejectedReason.RATE_LIMITED
        self.rejections.rejected(reason, device=device, remote=remote, transport=transport, size=size, gateway=gateway)
        return reason

    def refund(self, device: Device) -> None:
        """Refund the message allowance for a block of a transfer, up to messages.block_rate."""
        if self._block_rates.admits(device.id, self._clock.monotonic()):
            self._rates.give_back(device.id)

    def received(
        self,
        device: Device,
        payload: bytes,
        *,
        remote: Remote,
        transport: Transport,
        local_port: int,
        coap_code: str = "",
        coap_path: str = "",
        session: Session | None = None,
        mark: Mark | None = None,
    ) -> int | None:
        """
        Accept a message.

        Args:
            session: The DTLS session; None selects the device's session over this transport.
            mark: Peculiarity of the message, for its event.

        Returns:
            Id of the message, also the correlation id of the events that it causes; None if it is too large.
        """
        if self._is_too_large(device, payload, remote, transport, None):
            return None
        time_ns = self._clock.time_ns()
        message_id = self._bus.new_id(time_ns)
        session = self.sessions.contacted(device, remote, transport=transport, session=session, cause=message_id)
        message = Message(
            message_id,
            device.origin,
            time_ns,
            transport,
            payload,
            local_port,
            remote[1],
            coap_code,
            coap_path,
        )
        self._accept(device, message, self._directory.way_of(device.collection, transport), session.id, mark)
        return message_id

    def received_through(
        self,
        gateway: Gateway,
        device: Device,
        payload: bytes,
        *,
        remote: Remote,
        session_id: int,
        metadata: Mapping[str, str],
    ) -> int | None:
        """
        Accept a message that a gateway forwards for a device.

        Args:
            remote: Address of the gateway.
            session_id: Session of the gateway's control stream.
            metadata: The gateway's metadata about the message; also stored with the device.

        Returns:
            The same as `received`.
        """
        if self._is_too_large(device, payload, remote, Transport.GATEWAY, gateway):
            return None
        time_ns = self._clock.time_ns()
        message_id = self._bus.new_id(time_ns)
        origin = gateway.origin_with(device)
        self.reported(gateway, device, metadata)
        self._bus.publish(
            GatewayUpstreamMessage(
                origin=origin,
                correlation_id=message_id,
                session_id=session_id,
                bytes=len(payload),
                message_id=SpanId(message_id),
            )
        )
        message = Message(
            message_id,
            origin,
            time_ns,
            Transport.GATEWAY,
            payload,
            gateway_metadata=tuple(sorted(metadata.items())),
        )
        self._accept(device, message, gateway, session_id)
        return message_id

    def received_from_network(
        self,
        device: Device,
        payload: bytes,
        *,
        remote: Remote,
        metadata: Mapping[str, str],
        radio: str,
        network_time: Moment | None,
    ) -> int | None:
        """
        Accept a message that another network server reports for a device.

        Args:
            remote: Address of the network server.
            metadata: The network's data about the message.
            radio: The same for people.
            network_time: Time that the network gives the message.

        Returns:
            The same as `received`.
        """
        if self._is_too_large(device, payload, remote, Transport.GATEWAY, None):
            return None
        time_ns = self._clock.time_ns()
        message_id = self._bus.new_id(time_ns)
        message = Message(
            message_id,
            device.origin,
            time_ns,
            Transport.GATEWAY,
            payload,
            gateway_metadata=tuple(sorted(metadata.items())),
        )
        way = self._directory.way_of(device.collection, Transport.GATEWAY)
        self._accept(device, message, way, None, radio=radio, network_time=network_time)
        return message_id

    def polled(self, device: Device, remote: Remote, *, transport: Transport, session: Session | None) -> None:
        """Note that a device asks for a waiting message; arguments as for `received`."""
        self.sessions.contacted(device, remote, transport=transport, session=session)
        device.traffic.polls += 1

    def reported(self, gateway: Gateway, device: Device, metadata: Mapping[str, str]) -> None:
        """Store a gateway's report about a device. An empty report keeps the previous one of this gateway."""
        found = device.gateway
        if metadata or found.gateway_id != gateway.id:
            found.params = dict(metadata)
        found.gateway_id = gateway.id
        found.last_update = self._clock.time_ns() // 1_000_000
        self._changed.add(device)

    # ---- called by other parts ----------------------------------------------------------------

    def is_written(self, device: Device) -> bool:
        """Return whether the registry holds all changes of a device."""
        return device not in self._changed and device not in self._being_written

    def changed(self, device: Device) -> None:
        """Write a device with the next batch, after another part has changed it."""
        self._changed.add(device)

    # ---- called after changes by the API ------------------------------------------------------

    def device_removed(self, device: Device, *, cause: int) -> None:
        """End the sessions of a removed device, and drop its allowances and pending writes."""
        self.sessions.end(device, DisconnectReason.DEVICE_REMOVED, cause)
        self._changed.discard(device)
        self._rates.forget(device.id)
        self._block_rates.forget(device.id)

    # ---- called periodically ------------------------------------------------------------------

    def sweep(self) -> None:
        """End idle sessions and publish summaries of suppressed rejections; called about once a second."""
        now = self._clock.monotonic()
        self.sessions.sweep()
        self.rejections.sweep()
        self._rates.sweep(now)
        self._block_rates.sweep(now)

    async def flush(self) -> None:
        """Write changed devices to the registry. The next call retries a failed batch."""
        changed, self._changed = self._changed, set()
        if not changed:
            return
        self._being_written |= changed
        try:
            await self._registry.put_activity(changed)
        except BaseException:
            self._changed |= changed
            raise
        finally:
            self._being_written -= changed

    # ---- private ------------------------------------------------------------------------------

    def _reject_stranger(
        self,
        found: Refusal[MessageRejectedReason],
        remote: Remote,
        transport: Transport,
        size: int,
        mark: Mark | None,
    ) -> MessageRejectedReason:
        self.rejections.rejected(
            found.reason,
            device=found.device,
            remote=remote,
            transport=transport,
            size=size,
            detail=found.detail,
            mark=mark,
            former=found.former,
        )
        return found.reason

    def _is_too_large(
        self, device: Device, payload: bytes, remote: Remote, transport: Transport, gateway: Gateway | None
    ) -> bool:
        size, limit = len(payload), self._config.max_payload
        if size <= limit:
            return False
        self.rejections.rejected(
            MessageRejectedReason.TOO_LARGE,
            device=device,
            remote=remote,
            transport=transport,
            size=size,
            limit=limit,
            gateway=gateway,
        )
        return True

    def _accept(
        self,
        device: Device,
        message: Message,
        way: Gateway,
        session_id: int | None,
        mark: Mark | None = None,
        *,
        radio: str | None = None,
        network_time: Moment | None = None,
    ) -> None:
        """Store a message in the inbox, count it, and publish it."""
        origin, payload = message.origin, message.payload
        size = len(payload)
        device.last_gateway_id = origin.gateway_id or 0
        device.last_transport = message.transport
        device.last_received_ns = message.received_ns
        device.last_payload = payload
        device.traffic.upstream(size)
        way.traffic.upstream(size)
        device.collection.upstream_ms.append(message.received_ns // 1_000_000)
        self._changed.add(device)
        accepted = self._accepted[message.transport]
        accepted[0] += 1
        accepted[1] += size
        self.inbox.append(message)
        event = UpstreamMessage(
            origin=origin,
            correlation_id=message.id,
            session_id=session_id,
            bytes=size,
            transport=message.transport,
            message_id=SpanId(message.id),
            path=message.coap_path or None,
            number=device.traffic.messages_upstream - 1,
            radio=radio,
            network_time=network_time,
        )
        self._bus.publish(event if mark is None else dataclasses.replace(event, **mark._asdict()))
        self._bus.forward(message)
