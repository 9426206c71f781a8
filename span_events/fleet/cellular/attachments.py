"""
Attachments: starts, changes and ends them, and publishes ciotConnect and ciotDisconnect.

Each change reaches the index, the directory, the address leases, the pending writes and the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields
from typing import Final

from span_events.bounded.expiring import ExpiringMap
from span_events.bounded.idle import IdleTimers
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import CellularConfig
from span_events.events.activity import Moment
from span_events.events.catalogue import CiotAddressChanged, CiotConnect, CiotDisconnect
from span_events.events.reasons import CiotDisconnectReason, DisconnectReason
from span_events.fleet.cellular.addresses import DeviceAddresses
from span_events.fleet.cellular.attachment_index import AttachmentIndex
from span_events.fleet.cellular.attachment_log import log_end, log_start
from span_events.fleet.cellular.leases import Allocation, Lease, Subscriber
from span_events.fleet.cellular.pending import PendingWrites
from span_events.fleet.cellular.silence import SilenceWatch
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.identity import FormerHolder
from span_events.fleet.others import OtherNodes
from span_events.metrics import Metric
from span_events.registry.addresses import prefix_of
from span_events.registry.model import Attachment, Device, Reservation
from span_events.registry.registry import Registry

_SLICE: Final = 1_000
"""Upper bound of attachments that time out in one sweep; the next sweep ends the rest."""

_CLIENT_REASONS: Final = {
    CiotDisconnectReason.ADDRESS_REASSIGNED: DisconnectReason.ADDRESS_REASSIGNED,
    CiotDisconnectReason.REPLACED: DisconnectReason.REPLACED,
}
"""Reason with which client sessions over an attachment end, by the attachment's own; all others are detached."""

Location = Mapping[str, str | None]
"""Keys of `CiotConnect` for the location of a device and its expected address."""


class Attachments:
    """The open attachments, their lifetimes, and the addresses that devices have by them."""

    def __init__(
        self,
        config: CellularConfig,
        *,
        bus: Bus,
        registry: Registry,
        reception: Reception,
        others: OtherNodes,
        clock: Clock,
    ) -> None:
        self._limit = config.sessions
        self._timeout = config.session_timeout
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self._reception = reception
        self._clock = clock
        self._lifetimes: IdleTimers[Attachment] = IdleTimers()
        self._counts: Counter[str] = Counter()
        self._former: ExpiringMap[str, FormerHolder] = ExpiringMap(
            limit=config.sessions, lifetime=max(config.quarantine, 1.0)
        )
        self.index = AttachmentIndex()
        """For look-ups; only this class changes it."""
        self._silence = SilenceWatch(
            config.silent_after, bus=bus, registry=registry, index=self.index, others=others, clock=clock
        )
        self.addresses = DeviceAddresses(self.index, directory=registry.directory, reception=reception, clock=clock)
        self.pending = PendingWrites(registry.store, limit=config.sessions)
        self.allocation = Allocation(
            config,
            directory=registry.directory,
            attachments=self.index,
            pending=self.pending,
            is_written=reception.is_written,
            clock=clock,
        )

    def fill(self, attachments: Iterable[Attachment], reservations: Iterable[Reservation]) -> None:
        """
        Load attachments and reservations from the registry; the mobile core does not report them again.

        The time of the last report is not stored, so each attachment gets its whole lifetime.
        """
        now = self._clock.monotonic()
        for each in attachments:
            self.index.add(each)
            self._touch(each)
            self._silence.resume(each, from_start=self._registry.store.is_shared)
        for device in self._directory.devices.values():
            ciot = device.ciot
            if self.index.of_device(device):
                self.addresses.update(device)
                continue
            if ciot.allocated_prefix or ciot.allocated_ip != ciot.static_ip:
                self.addresses.update(device)  # the server stopped before the end of its attachment was written
            self.addresses.restore_static(device)
            last = Lease(ciot.last_ip, ciot.last_prefix)
            self.allocation.free(Subscriber.of(device), last, now)
        self.allocation.fill(reservations, from_start=self._registry.store.is_shared)

    # ---- a registry that several nodes share --------------------------------------------------

    def show(self, found: Iterable[Attachment], ids: AbstractSet[int], cause: int) -> None:
        """
        Show what other nodes wrote; they publish the events of it.

        Args:
            ids: Attachments that have ended unless they are found.
        """
        known = {each.id: each for each in self.index}
        present = {each.id: each for each in found if each.id not in self.pending}
        for attachment_id in ids - present.keys():
            if attachment_id in known and attachment_id not in self.pending:
                self._hide(known[attachment_id], cause)
        for seen in present.values():
            ours = known.get(seen.id)
            before = None if ours is None else ours.device
            if ours is not None:
                self.index.remove(ours)
            holders = (self.index.holder(seen.address), self.index.holder(seen.prefix))
            for other in (*holders, self.index.find(seen.nas, seen.nas_address, seen.session)):
                if other is not None and other in self.index:
                    self._hide(other, cause)
            if ours is None:
                ours = seen
                self._silence.resume(ours, from_start=True)
            else:
                for each in fields(Attachment):
                    if each.name != "signs":
                        setattr(ours, each.name, getattr(seen, each.name))
                if ours.device is None:
                    self._silence.stop(ours)
                elif ours.device is not before:
                    self._silence.start(ours, ours.device)
            self.index.add(ours)
            self._touch(ours)
            for device in {before, ours.device} - {None}:
                assert device is not None, "it was left out"
                self.addresses.update(device, is_ours=False)

    def _hide(self, attachment: Attachment, cause: int) -> None:
        """Remove an attachment that another node has ended."""
        self.index.remove(attachment)
        self._lifetimes.drop(attachment)
        self._silence.stop(attachment)
        device, lease = attachment.device, Lease(attachment.address, attachment.prefix)
        subscriber = Subscriber.of(device, attachment.imsi, attachment.imei, attachment.apn)
        self.allocation.free(subscriber, lease, self._clock.monotonic())
        if device is not None:
            self.addresses.update(device, is_ours=False)
            self._reception.sessions.address_lost(device, DisconnectReason.DETACHED, cause=cause)

    # ---- start and change ---------------------------------------------------------------------

    def start(
        self,
        attachment: Attachment,
        device: Device | None,
        conflicting: Iterable[Attachment],
        location: Location,
        cause: int,
    ) -> None:
        """Add an attachment of a device, or of an unknown subscriber; the conflicting attachments end first."""
        self._end_conflicting(conflicting, attachment, device, cause)
        if len(self.index) >= self._limit:
            quietest = self._lifetimes.quietest()
            assert quietest is not None, "each attachment has a lifetime"
            self.end(quietest, CiotDisconnectReason.TABLE_FULL, cause)
        self.addresses.take_from_others(attachment, device, cause)
        attachment.device = device
        self.index.add(attachment)
        for address in (attachment.address, attachment.prefix):
            self._former.forget(address)
        self.pending.changed(attachment)
        self._touch(attachment)
        log_start(attachment)
        if device is not None:
            self._connect(attachment, device, location, cause)

    def assign(self, attachment: Attachment, device: Device, location: Location, cause: int) -> None:
        """Assign an attachment without a device to a device."""
        self._end_conflicting(self.index.conflicting(attachment, device), attachment, device, cause)
        self.index.assign(attachment, device)
        self.pending.changed(attachment)
        self._connect(attachment, device, location, cause)

    def unassign(self, attachment: Attachment, reason: CiotDisconnectReason, cause: int) -> None:
        """Take an attachment from its device. It stays open: the mobile core has not yet reported its end."""
        device = attachment.device
        if device is not None:
            self.index.assign(attachment, None)
            self.pending.changed(attachment)
            self._disconnect(attachment, device, reason, cause, seconds=self._age(attachment))

    def renew(self, attachment: Attachment, lifetime: float | None = None) -> None:
        """Restart the lifetime of an attachment, in seconds; None keeps the previous length."""
        is_changed = lifetime is not None and lifetime != attachment.lifetime
        attachment.lifetime = attachment.lifetime if lifetime is None else lifetime
        self._touch(attachment)
        if is_changed or self._registry.store.is_shared:
            self.pending.changed(attachment)  # the other nodes renew it, too

    def set_numbers(self, attachment: Attachment, imsi: str, imei: str) -> None:
        """Set IMSI and IMEI, one of which the mobile core had not reported before."""
        self.index.set_numbers(attachment, imsi, imei)
        self.pending.changed(attachment)

    def set_addresses(self, attachment: Attachment, address: str, prefix: str, cause: int) -> None:
        """Change the addresses of an attachment; equal addresses have no effect."""
        before, after, device = Lease(attachment.address, attachment.prefix), Lease(address, prefix), attachment.device
        if before == after:
            return
        holders = {self.index.holder(each) for each in after} - {attachment}
        self._end_conflicting([each for each in holders if each is not None], attachment, device, cause)
        self.index.set_addresses(attachment, address, prefix)
        for each in after:
            self._former.forget(each)
        self.pending.changed(attachment)
        self._free(attachment, Lease(*("" if old == new else old for old, new in zip(before, after, strict=True))))
        self.addresses.take_from_others(attachment, device, cause)
        if device is not None:
            self.addresses.update(device)
            shown = attachment.shown_address
            self._bus.publish(
                CiotAddressChanged(
                    origin=device.origin,
                    correlation_id=cause,
                    session_id=attachment.id,
                    imsi=attachment.imsi or None,
                    from_address=before.address or before.prefix or None,
                    to_address=shown or None,
                )
            )
            self._reception.sessions.address_lost(device, DisconnectReason.ADDRESS_CHANGED, detail=shown, cause=cause)

    # ---- end ----------------------------------------------------------------------------------

    def end(
        self,
        attachment: Attachment,
        reason: CiotDisconnectReason,
        cause: int | None,
        *,
        terminate_cause: str = "",
        seconds: int | None = None,
    ) -> None:
        """
        End an attachment.

        Args:
            terminate_cause: Words of the mobile core (``User-Request``).
            seconds: Duration as reported by the mobile core; None to measure it here.
        """
        self.index.remove(attachment)
        self.pending.ended(attachment)
        self._lifetimes.drop(attachment)
        self._free(attachment, Lease(attachment.address, attachment.prefix))
        device = attachment.device
        if seconds is None:
            seconds = self._age(attachment)
        log_end(attachment, reason, seconds)
        if device is not None:
            self._disconnect(attachment, device, reason, cause, terminate_cause=terminate_cause, seconds=seconds)

    def former_holder(self, host: str) -> FormerHolder | None:
        """Return the device whose attachment had an address, while the address rests (cellular.quarantine)."""
        now = self._clock.monotonic()
        found = self._former.get(host, now)
        if found is None and ":" in host:
            found = self._former.get(prefix_of(host), now)
        return found if found is not None and found.device.id in self._directory.devices else None

    def subscriber_at(self, host: str) -> str | None:
        """Return the IMSI of the subscriber with an address, or its prefix, if it is matched with no device."""
        found = self.index.holder(host)
        if found is None and ":" in host:
            found = self.index.holder(prefix_of(host))
        return found.imsi if found is not None and found.device is None else None

    def sweep(self) -> None:
        """End attachments without reports, publish silent devices; called about once a second."""
        now = self._clock.monotonic()
        if not self._registry.store.is_shared:  # else see `lead`
            for each in self._lifetimes.take_due(now, limit=_SLICE):
                self.end(each, CiotDisconnectReason.TIMEOUT, None)
            self._silence.sweep()
        self.allocation.sweep(now)

    async def lead(self) -> None:
        """
        Do the same as one of several nodes that share the registry, if it is this one; called about once a second.

        Raises:
            StorageUnavailable: The database cannot be used; the next call tries again.
        """
        await self._silence.lead()
        due = self._lifetimes.due(self._clock.monotonic(), limit=_SLICE) if self._registry.leads else ()
        if not due:
            return
        async with self.pending.lock:  # or another node's notice of the deletion would end them without an event
            ended = await self._registry.store.timers.end_attachments([each.id for each in due])
            for each in due:
                if (each.id in ended or each.id in self.pending) and each in self.index:
                    self.end(each, CiotDisconnectReason.TIMEOUT, None)

    def metrics(self) -> list[Metric]:
        """List the metrics of attachments, pending writes and leases."""
        return [
            Metric(
                "cellular_sessions",
                "Attachments, of devices and of unknown subscribers; at most cellular.sessions.",
                "gauge",
                lambda: {"device": len(self.index) - self.index.unassigned, "nobody": self.index.unassigned},
                label="of",
            ),
            Metric("cellular_connects", "Starts of devices' attachments.", "counter", lambda: self._counts["connect"]),
            Metric(
                "cellular_disconnects",
                "Ends of devices' attachments.",
                "counter",
                lambda: {each: self._counts[each] for each in CiotDisconnectReason},
                label="reason",
            ),
            *self.pending.metrics(),
            *self.allocation.metrics(),
        ]

    # ---- parts --------------------------------------------------------------------------------

    def _connect(self, attachment: Attachment, device: Device, location: Location, cause: int) -> None:
        self.addresses.update(device)
        self._silence.start(attachment, device)
        device.traffic.attachments += 1
        self._counts["connect"] += 1
        self._bus.publish(
            CiotConnect(
                origin=device.origin,
                correlation_id=cause,
                session_id=attachment.id,
                imsi=attachment.imsi or None,
                imei=attachment.imei or None,
                allocated_ip=attachment.shown_address or None,
                apn=attachment.apn or None,
                **location,
            )
        )

    def _disconnect(
        self,
        attachment: Attachment,
        device: Device,
        reason: CiotDisconnectReason,
        cause: int | None,
        *,
        terminate_cause: str = "",
        seconds: int,
    ) -> None:
        self._silence.stop(attachment)
        self.addresses.update(device)
        now, ended = self._clock.monotonic(), Moment(self._clock.time_ns() // 1_000_000)
        for address in filter(None, (attachment.address, attachment.prefix)):
            self._former.put(address, FormerHolder(device, ended, terminate_cause or reason.value), now)
        self._counts[reason] += 1
        self._bus.publish(
            CiotDisconnect(
                origin=device.origin,
                correlation_id=cause,
                session_id=attachment.id,
                reason=reason,
                imsi=attachment.imsi or None,
                allocated_ip=attachment.shown_address or None,
                cause=terminate_cause or None,
                seconds=seconds,
            )
        )
        self._reception.sessions.address_lost(
            device, _CLIENT_REASONS.get(reason, DisconnectReason.DETACHED), cause=cause
        )

    def _end_conflicting(
        self, conflicting: Iterable[Attachment], attachment: Attachment, device: Device | None, cause: int
    ) -> None:
        """End the attachments that another one replaces; a SIM in other hardware may not be its device's any more."""
        for each in conflicting:
            same_device = device is not None and each.device is device
            same_sim = bool(each.imsi) and each.imsi == attachment.imsi
            replaced = same_device or same_sim
            reason = CiotDisconnectReason.REPLACED if replaced else CiotDisconnectReason.ADDRESS_REASSIGNED
            self.end(each, reason, cause)

    def _free(self, attachment: Attachment, lease: Lease) -> None:
        """Return addresses to the pool, and static ones to their devices."""
        subscriber = Subscriber.of(attachment.device, attachment.imsi, attachment.imei, attachment.apn)
        self.allocation.free(subscriber, lease, self._clock.monotonic())
        for address in lease:
            owner = self._directory.device_with_static(address)
            if owner is not None:
                self.addresses.restore_static(owner)

    def _touch(self, attachment: Attachment) -> None:
        """Restart the lifetime of an attachment."""
        self._lifetimes.touch(attachment, self._clock.monotonic(), attachment.lifetime or self._timeout)

    def _age(self, attachment: Attachment) -> int:
        return max(0, self._clock.time_ns() // 1_000_000 - attachment.attached_ms) // 1000
