"""
Where devices are on the mobile network: which attachment is whose, and which addresses a device has by it.

Here attachments begin, change hands, move and end; directory, registry, metadata and events follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from span_events.bounded.idle import IdleTimers
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import CellularConfig
from span_events.events.activity import Moment
from span_events.events.catalogue import CiotConnect, CiotDisconnect, ClientSilent
from span_events.events.reasons import CiotDisconnectReason, DisconnectReason
from span_events.fleet.cellular.attachments import Attachments
from span_events.fleet.cellular.leases import Allocation, Lease, Subscriber, own_lease
from span_events.fleet.cellular.pending import PendingWrites
from span_events.fleet.devices.inbound import Reception
from span_events.metrics import Metric
from span_events.registry.directory import Directory
from span_events.registry.model import Attachment, Device, Reservation
from span_events.registry.store import Store

_SLICE: Final = 1_000
"""Attachments that end in one look, at most; the others do in the next."""

_OF_CLIENTS: Final = {
    CiotDisconnectReason.ADDRESS_REASSIGNED: DisconnectReason.ADDRESS_REASSIGNED,
    CiotDisconnectReason.REPLACED: DisconnectReason.REPLACED,
}
"""What the end of an attachment is to the client sessions over it; otherwise detached."""

Location = Mapping[str, str | None]
"""What `CiotConnect` tells of where a device is, and of the address that it should have."""


class Presence:
    """The attachments, and what the rest of the fleet knows of them."""

    def __init__(
        self,
        config: CellularConfig,
        *,
        bus: Bus,
        store: Store,
        directory: Directory,
        reception: Reception,
        clock: Clock,
    ) -> None:
        self._config = config
        self._bus = bus
        self._directory = directory
        self._reception = reception
        self._clock = clock
        self._alive: IdleTimers[Attachment] = IdleTimers()
        self._silent: IdleTimers[Attachment] = IdleTimers()
        self._counts: Counter[str] = Counter()
        self.attachments = Attachments()
        """To be looked at only."""
        self.pending = PendingWrites(store, limit=config.sessions)
        self.allocation = Allocation(
            config,
            directory=directory,
            attachments=self.attachments,
            pending=self.pending,
            is_written=reception.is_written,
            clock=clock,
        )

    def fill(self, attachments: Iterable[Attachment], reservations: Iterable[Reservation]) -> None:
        """
        Take over what the registry holds; the mobile core will not tell it again.

        How long ago there was news of them is not known, so all get their whole lifetime.
        """
        now = self._clock.monotonic()
        for each in attachments:
            self.attachments.add(each)
            self._alive.touch(each, now, self._config.session_timeout)
            if each.device is not None and self._seconds_since(each) < self._config.silent_after:
                self._silent.touch(each, now, self._config.silent_after)
        for device in self._directory.devices.values():
            ciot = device.ciot
            if self.attachments.of_device(device):
                self.place(device)
                continue
            if ciot.allocated_prefix or ciot.allocated_ip != ciot.static_ip:
                self.place(device)  # that its attachment was over came too late to be written
            self._give_back(device)
            last = Lease(ciot.last_ip, ciot.last_prefix)
            self.allocation.free(Subscriber.of(device), last, now)
        self.allocation.fill(reservations)

    # ---- attaching ----------------------------------------------------------------------------

    def rivals(self, attachment: Attachment, device: Device | None) -> list[Attachment]:
        """
        List the attachments that are over if this one is there, and a device's.

        They have its address; or they are of the same subscriber over the same APN. A subscriber may have IPv4
        and IPv6 there apart from each other (3GPP TS 23.401 section 5.3.1.1).
        """
        of_subscriber = self.attachments.of_numbers(attachment.imsi, "")
        if device is not None:
            of_subscriber += self.attachments.of_device(device)
        found = {each.id: each for each in of_subscriber if each.apn == attachment.apn and _compete(each, attachment)}
        for address in (attachment.address, attachment.prefix):
            holder = self.attachments.holder(address)
            if holder is not None:
                found[holder.id] = holder
        found.pop(attachment.id, None)
        return list(found.values())

    def begin(
        self,
        attachment: Attachment,
        device: Device | None,
        rivals: Iterable[Attachment],
        location: Location,
        cause: int,
    ) -> None:
        """Take in an attachment in the place of its rivals, which end first; it is a device's, or nobody's."""
        self._end_rivals(rivals, attachment, device, cause)
        if len(self.attachments) >= self._config.sessions:
            quietest = self._alive.quietest()
            assert quietest is not None, "each attachment has a lifetime"
            self.end(quietest, CiotDisconnectReason.TABLE_FULL, cause)
        self._take_over(attachment, device, cause)
        attachment.device = device
        self.attachments.add(attachment)
        self.pending.changed(attachment)
        self._alive.touch(attachment, self._clock.monotonic(), self._config.session_timeout)
        if device is not None:
            self._join(attachment, device, location, cause)

    def join(self, attachment: Attachment, device: Device, location: Location, cause: int) -> None:
        """An attachment that was nobody's is a device's."""
        self._end_rivals(self.rivals(attachment, device), attachment, device, cause)
        self.attachments.give(attachment, device)
        self.pending.changed(attachment)
        self._join(attachment, device, location, cause)

    def heard(self, attachment: Attachment, lifetime: float | None = None) -> None:
        """There is news of an attachment; it may be silent for so many seconds from now on (None: as before)."""
        self._alive.touch(attachment, self._clock.monotonic(), lifetime)

    def complete(self, attachment: Attachment, imsi: str, imei: str) -> None:
        """The mobile core tells numbers of an attachment that it has not told before."""
        self.attachments.number(attachment, imsi, imei)
        self.pending.changed(attachment)

    def move(self, attachment: Attachment, address: str, prefix: str, cause: int) -> None:
        """An attachment has other addresses; nothing happens if they are not others."""
        before, after, device = Lease(attachment.address, attachment.prefix), Lease(address, prefix), attachment.device
        if before == after:
            return
        holders = {self.attachments.holder(each) for each in after} - {attachment}
        self._end_rivals([each for each in holders if each is not None], attachment, device, cause)
        self.attachments.move(attachment, address, prefix)
        self.pending.changed(attachment)
        self._free(attachment, Lease(*("" if old == new else old for old, new in zip(before, after, strict=True))))
        self._take_over(attachment, device, cause)
        if device is not None:
            self.place(device)
            shown = attachment.shown_address
            self._reception.address_lost(device, DisconnectReason.ADDRESS_CHANGED, detail=shown, cause=cause)

    def place(self, device: Device) -> None:
        """Let the directory, and the device itself, show which addresses it has by its attachments."""
        if device.id not in self._directory.devices:
            return
        attachments, ciot = self.attachments.of_device(device), device.ciot
        latest = attachments[-1] if attachments else None
        address, prefix = (latest.address, latest.prefix) if latest else ("", "")
        allocated_at = latest.attached_ms if latest else ciot.allocated_at
        is_news = (address, prefix, allocated_at) != (ciot.allocated_ip, ciot.allocated_prefix, ciot.allocated_at)
        addresses = tuple(text for each in attachments for text in (each.address, each.prefix) if text)
        self._directory.readdress(device, address, addresses)
        ciot.allocated_prefix, ciot.allocated_at = prefix, allocated_at
        ciot.last_ip, ciot.last_prefix = address or ciot.last_ip, prefix or ciot.last_prefix
        if is_news:
            ciot.last_update = self._now_ms()
            self._reception.changed(device)

    # ---- leaving ------------------------------------------------------------------------------

    def end(
        self,
        attachment: Attachment,
        reason: CiotDisconnectReason,
        cause: int | None,
        *,
        words: str = "",
        seconds: int | None = None,
    ) -> None:
        """
        An attachment is over.

        Args:
            words: Why, as the mobile core says.
            seconds: How long it was, as the mobile core says.
        """
        self.attachments.remove(attachment)
        self.pending.ended(attachment)
        self._alive.drop(attachment)
        self._free(attachment, Lease(attachment.address, attachment.prefix))
        device = attachment.device
        if device is not None:
            self._part(attachment, device, reason, cause, words=words, seconds=seconds)

    def leave(self, attachment: Attachment, reason: CiotDisconnectReason, cause: int) -> None:
        """An attachment is its device's no longer, but the mobile network has it still."""
        device = attachment.device
        if device is not None:
            self.attachments.give(attachment, None)
            self.pending.changed(attachment)
            self._part(attachment, device, reason, cause)

    # ---- what time brings ---------------------------------------------------------------------

    def sweep(self) -> None:
        """Once a second or so: end what there was no news of, tell of devices that are silent."""
        now = self._clock.monotonic()
        for each in self._alive.take_due(now, limit=_SLICE):
            self.end(each, CiotDisconnectReason.TIMEOUT, None)
        for each in self._silent.take_due(now, limit=_SLICE):
            self._tell_silence(each)
        self.allocation.sweep(now)

    def metrics(self) -> list[Metric]:
        """List what is counted."""
        return [
            Metric(
                "cellular_sessions",
                "Sessions of the mobile core, of devices and of nobody that is known; at most cellular.sessions.",
                "gauge",
                lambda: {
                    "device": len(self.attachments) - self.attachments.strangers,
                    "nobody": self.attachments.strangers,
                },
                label="of",
            ),
            Metric("cellular_connects", "Times that devices attached.", "counter", lambda: self._counts["joined"]),
            Metric(
                "cellular_disconnects",
                "Times that devices were attached no longer.",
                "counter",
                lambda: {each: self._counts[each] for each in CiotDisconnectReason},
                label="reason",
            ),
            Metric(
                "cellular_commits",
                "Transactions that took changes of sessions to the registry.",
                "counter",
                lambda: self.pending.commits,
            ),
            Metric(
                "cellular_unwritten",
                "Changes that wait for the registry; from cellular.sessions on, accounting is dropped.",
                "gauge",
                lambda: len(self.pending),
            ),
            *self.allocation.metrics(),
        ]

    # ---- parts --------------------------------------------------------------------------------

    def _join(self, attachment: Attachment, device: Device, location: Location, cause: int) -> None:
        self.place(device)
        attachment.signs = device.traffic.signs_of_life
        device.traffic.attachments += 1
        self._silent.touch(attachment, self._clock.monotonic(), self._config.silent_after)
        self._counts["joined"] += 1
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

    def _part(
        self,
        attachment: Attachment,
        device: Device,
        reason: CiotDisconnectReason,
        cause: int | None,
        *,
        words: str = "",
        seconds: int | None = None,
    ) -> None:
        self._silent.drop(attachment)
        self.place(device)
        self._counts[reason] += 1
        self._bus.publish(
            CiotDisconnect(
                origin=device.origin,
                correlation_id=cause,
                session_id=attachment.id,
                reason=reason,
                imsi=attachment.imsi or None,
                allocated_ip=attachment.shown_address or None,
                cause=words or None,
                seconds=self._seconds_since(attachment) if seconds is None else seconds,
            )
        )
        self._reception.address_lost(device, _OF_CLIENTS.get(reason, DisconnectReason.DETACHED), cause=cause)

    def _end_rivals(
        self, rivals: Iterable[Attachment], attachment: Attachment, device: Device | None, cause: int
    ) -> None:
        """End what an attachment takes the place of; its SIM may be in other hardware now, and so nobody's device."""
        for each in rivals:
            same_device = device is not None and each.device is device
            same_sim = bool(each.imsi) and each.imsi == attachment.imsi
            replaced = same_device or same_sim
            reason = CiotDisconnectReason.REPLACED if replaced else CiotDisconnectReason.ADDRESS_REASSIGNED
            self.end(each, reason, cause)

    def _take_over(self, attachment: Attachment, device: Device | None, cause: int) -> None:
        """The mobile core knows better than people: who has the addresses by hand has them no longer."""
        others = self._directory.devices_in(attachment.prefix) if attachment.prefix else []
        holder = self._directory.device_at(attachment.address)
        if holder is not None:
            others.append(holder)
        for other in others:
            if other is device:
                continue
            self._directory.readdress(other, "", other.addresses)
            self._reception.changed(other)
            self._reception.address_lost(other, DisconnectReason.ADDRESS_REASSIGNED, cause=cause)

    def _free(self, attachment: Attachment, lease: Lease) -> None:
        subscriber = Subscriber.of(attachment.device, attachment.imsi, attachment.imei, attachment.apn)
        self.allocation.free(subscriber, lease, self._clock.monotonic())
        for address in lease:
            owner = self._directory.device_with_static(address)
            if owner is not None:
                self._give_back(owner)

    def _give_back(self, device: Device) -> None:
        """A device without a SIM has its address by hand, whenever the mobile core has given it to nobody."""
        ciot = device.ciot
        if device.config.is_cellular or ciot.allocated_ip == ciot.static_ip:
            return
        own = own_lease(device)
        if self.attachments.holder(own.address or own.prefix) is None:
            self._directory.readdress(device, ciot.static_ip, device.addresses)
            self._reception.changed(device)

    def _tell_silence(self, attachment: Attachment) -> None:
        """A device has been attached for a while: tell if nothing came of it, also before this process was started."""
        device = attachment.device
        assert device is not None, "nobody's silence is not watched"
        spoke = device.last_received_ns // 1_000_000 >= attachment.attached_ms
        if spoke or device.traffic.signs_of_life != attachment.signs:
            return
        self._bus.publish(
            ClientSilent(
                origin=device.origin,
                session_id=attachment.id,
                attached_at=Moment(attachment.attached_ms),
                allocated_ip=attachment.shown_address or None,
                seconds=self._seconds_since(attachment),
            )
        )

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000

    def _seconds_since(self, attachment: Attachment) -> int:
        return max(0, self._now_ms() - attachment.attached_ms) // 1000


def _compete(one: Attachment, other: Attachment) -> bool:
    """Tell whether a subscriber has either of two attachments, but not both."""
    if not (one.shown_address and other.shown_address):
        return True
    return bool(one.address and other.address) or bool(one.prefix and other.prefix)
