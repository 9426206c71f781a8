"""
Downstream messages: each waits until its device sends or polls; then it is sent, expires, or is cancelled.

Every change is published as an event. A new message is written to the registry before its event;
later changes are written in batches (`flush`), so that sending a message costs no write.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import islice, takewhile
from typing import Final, Protocol

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import DownstreamConfig
from span_events.errors import Conflict, LimitReached, NotFound, TooLarge
from span_events.events.activity import SpanId
from span_events.events.catalogue import DownstreamFailed, DownstreamMessage, DownstreamQueued
from span_events.events.message import Transport
from span_events.events.reasons import DownstreamFailedReason
from span_events.fleet.devices.claims import SLICE, Claims
from span_events.ids import render
from span_events.metrics import Metric
from span_events.registry.model import Device, Downstream, DownstreamState, Gateway
from span_events.registry.registry import Registry

_SWEPT: Final = 1_000
"""Upper bound of messages that expire within a second; the next second takes the rest."""


class Carrier(Protocol):
    """Delivery path that takes time: the session of a gateway."""

    gateway: Gateway

    def withdraw(self, message_id: int) -> bool:
        """Take back a message that has not been sent; return False if it has."""


class Outbox:
    """
    The downstream messages of all devices.

    A part that can send to a device at any time adds a function to `on_queued`. The function gets the device and
    the correlation id after a message was queued, and must neither await nor raise.
    """

    def __init__(
        self,
        config: DownstreamConfig,
        *,
        bus: Bus,
        registry: Registry,
        clock: Clock,
    ) -> None:
        self._config = config
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self._clock = clock
        self.claims = Claims(registry.store, clock, refused=self._look_again)
        self._lock = asyncio.Lock()
        self._by_id: dict[int, Downstream] = {}  # all messages
        self._messages: dict[int, OrderedDict[int, Downstream]] = {}  # by device
        self._waiting: dict[int, deque[Downstream]] = {}
        self._by_age: OrderedDict[int, Downstream] = OrderedDict()  # all waiting messages, oldest first
        self._underway: dict[int, Carrier] = {}  # the waiting messages that a gateway's session holds
        self._changed: dict[int, Downstream] = {}
        self._deleted: set[int] = set()  # until the registry has deleted them
        self.on_queued: list[Callable[[Device, int], None]] = []

    @property
    def waiting(self) -> int:
        """Number of waiting messages of all devices."""
        return len(self._by_age)

    def metrics(self) -> list[Metric]:
        """List what is counted."""
        waiting = Metric("downstream_waiting", "Messages that wait for devices.", "gauge", lambda: self.waiting)
        return [waiting, *self.claims.metrics()]

    def fill(self, messages: Iterable[Downstream]) -> None:
        """Load the messages of the registry."""
        for message in sorted(messages, key=lambda each: each.id):
            self._keep(message)

    def list(
        self,
        device: Device,
        *,
        limit: int,
        before_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> list[Downstream]:
        """Return messages of a device, newest first; arguments as in `Inbox.list`."""
        newest_first = reversed(self._messages[device.id].values()) if device.id in self._messages else ()
        matching = [
            message
            for message in newest_first
            if (before_id is None or message.id < before_id)
            and (start_ms is None or message.created_ms >= start_ms)
            and (end_ms is None or message.created_ms < end_ms)
        ]
        return matching[:limit]

    async def queue(self, device: Device, payload: bytes, *, cause: int) -> Downstream:
        """
        Queue a message for a device.

        A cancelled call may leave the message queued, with or without an event.

        Raises:
            TooLarge: The payload is over ``downstream.max_payload``.
            LimitReached: The device already has ``downstream.per_device`` waiting messages.
            NotFound: The device was removed, or moved meanwhile.
        """
        collection_id = device.collection.id
        if len(payload) > self._config.max_payload:
            raise TooLarge(
                f"payload: {len(payload)} octets, downstream.max_payload is {self._config.max_payload}", field="payload"
            )
        async with self._lock:
            self._directory.device(collection_id, device.id)
            waiting = self._waiting.get(device.id, ())
            if len(waiting) >= self._config.per_device:
                raise LimitReached(
                    f"{len(waiting)} messages wait for this device, as many as downstream.per_device allows",
                    hint="Delete some from the outbox, or let the device send something to fetch them.",
                )
            time_ns = self._clock.time_ns()
            message = Downstream(self._bus.new_id(time_ns), device.id, payload, time_ns // 1_000_000)
            await self._registry.store.queue_downstream(message)
            self._directory.device(device.collection.id, device.id)  # the device may have been removed meanwhile
            if message.id not in self._by_id:  # unless it was shown as that of another node
                self._keep(message)
        self._bus.publish(
            DownstreamQueued(
                origin=device.origin,
                correlation_id=cause,
                message_id=SpanId(message.id),
                bytes=len(payload),
                position=len(self._waiting[device.id]),
            )
        )
        self._tell_queued(device, cause)
        return message

    async def cancel(self, device: Device, message_id: int, *, cause: int) -> Downstream:
        """
        Delete a message; a waiting message is cancelled.

        Raises:
            Conflict: The message was sent to a gateway, and the gateway has not confirmed it yet.
            NotFound: The device has no such message.
            StorageUnavailable: PostgreSQL is away, so it is not known whether another node sends the message.
        """
        message = self._find(device, message_id)
        if message.state is DownstreamState.PENDING:
            is_claimed = await self.claims.claim(message)
            message = self._find(device, message_id)  # unless it was deleted meanwhile
            if message.state is DownstreamState.PENDING and not is_claimed:
                raise Conflict(
                    f"Message {render(message_id)} is being sent by another node: it cannot be called back",
                    hint="Look at the outbox again in a second.",
                    field="message",
                )
        was_underway = message_id in self._underway
        if not self._recall(message):
            raise Conflict(
                f"Message {render(message_id)} has left for a gateway: it cannot be called back",
                hint="Its downstreamMessage follows in a moment; after that it can be deleted as any message.",
                field="message",
            )
        self.failed(device, message, DownstreamFailedReason.CANCELLED, cause=cause)
        self._forget(message)
        if was_underway:
            self._tell_queued(device, cause)  # the next message may be sent
        await self.flush()
        return message

    def next_over(self, device: Device, transport: Transport, *, confirmable: bool = False) -> Downstream | None:
        """
        Return the oldest waiting message of a device that a reply over a transport may carry.

        Args:
            confirmable: True for a reply to a confirmable CoAP request.
        """
        if device.id not in self._waiting:
            return None
        if transport is Transport.UDP and not self._config.plain_udp:
            return None
        if transport is Transport.COAP and self._config.require_coap_con and not confirmable:
            return None
        return self.next_for(device)

    def next_for(self, device: Device) -> Downstream | None:
        """Return the oldest waiting message of a device; None while a gateway's session holds that message."""
        waiting = self._waiting.get(device.id)
        if waiting and waiting[0].id not in self._underway and self.claims.is_free(waiting[0].id):
            return waiting[0]
        return None

    def claimed(self, message: Downstream, work: Callable[[], None]) -> None:
        """Do some work that sends a message, as soon as this node may: at once, unless several share the registry."""

        def send() -> None:
            if message.id in self._by_age and message.id not in self._underway:
                work()

        self.claims.claim_then(message, send)

    def depart(self, message: Downstream, carrier: Carrier) -> None:
        """Assign a message to a gateway's session; until `sent` or `returned`, no other path may send it."""
        self._underway[message.id] = carrier

    def returned(self, message_id: int) -> None:
        """Release a message that its path could not send; a message that no longer waits is ignored."""
        self._underway.pop(message_id, None)

    def sent(
        self,
        device: Device,
        message: Downstream,
        *,
        transport: Transport,
        cause: int | None,
        gateway: Gateway | None = None,
    ) -> None:
        """
        Mark a message as sent, if it waits.

        Args:
            cause: Id of the upstream message or poll that it answers.
            gateway: Gateway through which it was sent, if any.
        """
        if message.id not in self._by_age:
            return
        now_ms = self._clock.time_ns() // 1_000_000
        self._settle(message, DownstreamState.SENT)
        message.sent_ms, message.transport = now_ms, transport
        # A device may have moved meanwhile: its new collection must not see gateways of the old one.
        shown = gateway if gateway is not None and gateway.collection is device.collection else None
        message.gateway_id = 0 if shown is None else shown.id
        way = gateway or self._directory.way_of(device.collection, transport)
        for traffic in (device.traffic, way.traffic):
            traffic.downstream(len(message.payload))
        device.collection.downstream_ms.append(now_ms)
        self._bus.publish(
            DownstreamMessage(
                origin=device.origin if shown is None else shown.origin_with(device),
                correlation_id=cause,
                bytes=len(message.payload),
                transport=transport,
                message_id=SpanId(message.id),
                waited_seconds=(now_ms - message.created_ms) // 1000,
                number=device.traffic.messages_downstream - 1,
            )
        )

    def failed(
        self,
        device: Device,
        message: Downstream,
        reason: DownstreamFailedReason,
        *,
        detail: str | None = None,
        cause: int | None = None,
    ) -> None:
        """Mark a message as failed, if it waits."""
        if message.id not in self._by_age:
            return
        self._settle(message, DownstreamState.FAILED)
        self._bus.publish(
            DownstreamFailed(
                origin=device.origin,
                correlation_id=cause,
                message_id=SpanId(message.id),
                reason=reason,
                waited_seconds=(self._clock.time_ns() // 1_000_000 - message.created_ms) // 1000,
                detail=detail,
            )
        )

    def give_up(self, device: Device, reason: DownstreamFailedReason, *, cause: int) -> None:
        """Fail all waiting messages of a device, except those that were sent to a gateway."""
        for message in list(self._waiting.get(device.id, ())):
            self.claims.claim_then(message, partial(self._fail, device, message, reason, cause))

    def review(self, device: Device, *, cause: int) -> None:
        """Fail the waiting messages of a device that lost a gateway, if no other path reaches the device."""
        if not self._is_reachable(device):
            self.give_up(device, DownstreamFailedReason.REFUSED, cause=cause)

    def device_removed(self, device: Device, *, cause: int) -> None:
        """Fail the waiting messages of a removed device, and drop all of its messages."""
        for message in list(self._waiting.get(device.id, ())):  # without a claim: their rows are gone already
            self._fail(device, message, DownstreamFailedReason.DEVICE_REMOVED, cause)
        for message in list(
            self._waiting.get(device.id, ())
        ):  # sent already, and the device of their events was removed
            gateway = self._underway[message.id].gateway
            self.sent(device, message, transport=Transport.GATEWAY, cause=cause, gateway=gateway)
        self._drop_all(device)

    # ---- a registry that several nodes share --------------------------------------------------

    def ids(self) -> set[int]:
        """Return the ids of all messages."""
        return set(self._by_id)

    def show(self, found: Iterable[Downstream], ids: AbstractSet[int], *, cause: int) -> None:
        """
        Show what other nodes wrote; they publish the events of it.

        Args:
            ids: Messages that are deleted unless found.
        """
        waiting = self._show(found, ids)
        for device in {self._directory.devices[each.device_id] for each in waiting}:
            self._tell_queued(device, cause)

    def _show(self, found: Iterable[Downstream], ids: AbstractSet[int]) -> Sequence[Downstream]:
        """Show messages, and return those that wait."""
        present = {each.id: each for each in found if each.device_id in self._directory.devices}
        for message_id in ids - present.keys():
            ours = self._by_id.get(message_id)
            if ours is not None and message_id not in self._underway and message_id not in self._changed:
                self._unqueue(ours)
                self._drop(ours)
        for message in sorted(present.values(), key=lambda each: each.id):
            ours = self._by_id.get(message.id)
            if ours is None:
                if message.id not in self._deleted:
                    self._keep(message)
            elif message.state is not DownstreamState.PENDING and message.id not in self._changed:
                self._unqueue(ours)
                ours.state, ours.sent_ms, ours.transport = message.state, message.sent_ms, message.transport
        return [each for each in present.values() if each.id in self._by_age]

    async def _look_again(self, ids: AbstractSet[int]) -> None:
        """Show messages that could not be claimed: they may be sent or deleted, without notice to this node."""
        found = await self._registry.store.read({"downstream": set(ids)}, self._directory.collections)
        self._show(found.downstream, ids)

    def forget(self, device: Device) -> None:
        """Drop the messages of a device that another node removed."""
        for message in list(self._waiting.get(device.id, ())):
            self._recall(message)
            self._unqueue(message)
        self._drop_all(device)

    async def close(self) -> None:
        """Cancel the claims under way, which would send messages."""
        await self.claims.close()

    def sweep(self) -> None:
        """Fail messages that have waited too long, unless nodes share them; called about once a second."""
        if not self.claims.are_needed:
            for message in self._overdue():
                self._expire(message)
        self.claims.give_back_unused(self._underway.__contains__)

    async def lead(self) -> None:
        """
        Fail messages that have waited too long, as one of several nodes; called about once a second.

        The leader does it for all nodes, each other node for the messages that its gateways' sessions hold.

        Raises:
            StorageUnavailable: PostgreSQL is away; the next call tries again.
        """
        leads = self._registry.leads
        overdue = [each for each in self._overdue() if leads or each.id in self._underway]
        for start in range(0, len(overdue), SLICE):
            for message in await self.claims.claim_all(overdue[start : start + SLICE]):
                self._expire(message)
            await self.flush()  # now: if this node dies, another publishes them again

    async def flush(self) -> None:
        """Write changed messages to the registry. The next call retries after a failure or cancellation."""
        changed, self._changed = self._changed, {}
        deleted = sorted(self._deleted)
        released = self.claims.take_given_back()
        try:
            if self.claims.are_needed and (changed or deleted or released):
                await self._registry.store.settle_downstream(list(changed.values()), deleted, released)
                changed, released = {}, []
            if changed:
                await self._registry.store.put_downstream(list(changed.values()))
                changed = {}
            if deleted and not self.claims.are_needed:
                await self._registry.store.delete_downstream(deleted)
            self._deleted.difference_update(deleted)
        finally:
            self._changed = changed | self._changed
            self.claims.release_later(released)

    def _find(self, device: Device, message_id: int) -> Downstream:
        message = self._messages.get(device.id, OrderedDict()).get(message_id)
        if message is None:
            raise NotFound(f"There is no message {render(message_id)} in the outbox of this device", field="message")
        return message

    def _overdue(self) -> Sequence[Downstream]:
        """List messages that have waited too long, oldest first, up to a bound."""
        oldest_ms = self._clock.time_ns() // 1_000_000 - int(self._config.expiry * 1000)
        return list(takewhile(lambda each: each.created_ms <= oldest_ms, islice(self._by_age.values(), _SWEPT)))

    def _expire(self, message: Downstream) -> None:
        if message.id in self._by_age:
            self._fail(self._directory.devices[message.device_id], message, DownstreamFailedReason.EXPIRED, None)

    def _recall(self, message: Downstream) -> bool:
        """Take a message back from a gateway's session, if one holds it; False if it was sent."""
        carrier = self._underway.get(message.id)
        if carrier is not None and not carrier.withdraw(message.id):
            return False
        self._underway.pop(message.id, None)
        return True

    def _is_reachable(self, device: Device) -> bool:
        """Return whether any remaining transport can identify the device."""
        config, ciot, now_ms = device.config, device.ciot, self._clock.time_ns() // 1_000_000
        gateways = (self._directory.gateways.get(each) for each in config.gateways)
        return (
            any(each is not None and each.enabled for each in gateways)
            or bool(config.imsi or config.imei or ciot.allocated_ip or ciot.static_ip or device.psk)
            or any(
                not each.revoked_ms and each.not_after_ms > now_ms
                for each in self._directory.certificates_of(device.id)
            )
        )

    def _tell_queued(self, device: Device, cause: int) -> None:
        for tell in self.on_queued:
            tell(device, cause)

    def _wait(self, message: Downstream) -> None:
        self._waiting.setdefault(message.device_id, deque()).append(message)
        self._by_age[message.id] = message

    def _keep(self, message: Downstream) -> None:
        self._by_id[message.id] = message
        self._messages.setdefault(message.device_id, OrderedDict())[message.id] = message
        if message.state is DownstreamState.PENDING:
            self._wait(message)

    def _fail(self, device: Device, message: Downstream, reason: DownstreamFailedReason, cause: int | None) -> None:
        """Fail a message, unless it was sent to a gateway."""
        if message.id in self._by_age and self._recall(message):
            self.failed(device, message, reason, cause=cause)

    def _unqueue(self, message: Downstream) -> None:
        """Remove a message from the queue, if it is there."""
        self._underway.pop(message.id, None)
        self.claims.forget(message.id)
        if self._by_age.pop(message.id, None) is None:
            return
        waiting = self._waiting[message.device_id]
        waiting.remove(message)
        if not waiting:
            del self._waiting[message.device_id]

    def _settle(self, message: Downstream, state: DownstreamState) -> None:
        """
        Remove a message from the queue, and note its state for the next write.

        Beyond twice the limit per device, the oldest finished message of the device is forgotten.
        """
        message.state = state
        self._unqueue(message)
        self._changed[message.id] = message
        messages = self._messages[message.device_id]
        if len(messages) > 2 * self._config.per_device:
            self._forget(next(each for each in messages.values() if each.state is not DownstreamState.PENDING))

    def _forget(self, message: Downstream) -> None:
        self._drop(message)
        self._changed.pop(message.id, None)
        self._deleted.add(message.id)

    def _drop(self, message: Downstream) -> None:
        del self._by_id[message.id], self._messages[message.device_id][message.id]

    def _drop_all(self, device: Device) -> None:
        """Drop the messages of a removed device; the store deletes them with it."""
        for message_id in self._messages.pop(device.id, {}):
            del self._by_id[message_id]
            self._changed.pop(message_id, None)
