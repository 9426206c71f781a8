"""
The mobile network: decides attach requests, and keeps attachments in step with accounting and with edits of devices.

The listener calls plain functions that never raise and never await. Before it answers, `Cellular.commit` waits
until the registry holds the change.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import CellularConfig, RejectionsConfig
from span_events.events.activity import UNATTRIBUTED
from span_events.events.reasons import CiotDisconnectReason, CiotRejectedReason
from span_events.fleet.cellular.accounting import BY_ACCEPT, Accounting, printable
from span_events.fleet.cellular.attachments import Attachments
from span_events.fleet.cellular.leases import Subscriber
from span_events.fleet.cellular.report import Accepted, MobileReport, Refused
from span_events.fleet.cellular.subscribers import Subscribers
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.identity import FormerHolder
from span_events.fleet.others import OtherNodes
from span_events.metrics import Metric
from span_events.net import Remote
from span_events.registry.addresses import prefix_of
from span_events.registry.model import Attachment, Device, Reservation
from span_events.registry.registry import Registry


class Cellular:
    """
    The mobile network as RADIUS reports it.

    Args:
        interim_intervals: Seconds between Interim-Updates by the name of a NAS; a missing NAS sends none.
    """

    def __init__(
        self,
        config: CellularConfig,
        *,
        rejections: RejectionsConfig,
        interim_intervals: Mapping[str, float],
        bus: Bus,
        registry: Registry,
        reception: Reception,
        others: OtherNodes,
        clock: Clock,
    ) -> None:
        self._accepts_mismatches = config.on_mismatch == "accept"
        self._bus = bus
        self._clock = clock
        self._questions = registry.questions
        self._attachments = Attachments(
            config, bus=bus, registry=registry, reception=reception, others=others, clock=clock
        )
        self._subscribers = Subscribers(
            config, rejections=rejections, bus=bus, directory=registry.directory, reception=reception, clock=clock
        )
        self.accounting = Accounting(
            config,
            bus=bus,
            interim_intervals=interim_intervals,
            attachments=self._attachments,
            subscribers=self._subscribers,
            clock=clock,
        )

    def former_holder(self, host: str) -> FormerHolder | None:
        """Return the device whose attachment had an address, while the address rests."""
        return self._attachments.former_holder(host)

    def subscriber_at(self, host: str) -> str | None:
        """Return the IMSI of the subscriber with an address, if it is matched with no device."""
        return self._attachments.subscriber_at(host)

    def fill(self, attachments: Iterable[Attachment], reservations: Iterable[Reservation]) -> None:
        """Load attachments and reservations from the registry; a device may have been edited after its attachment."""
        known = list(attachments)
        for each in known:
            if self._subscribers.match(each.imsi, each.imei).device is not each.device:
                each.device = None  # its next Interim-Update assigns it
        self._attachments.fill(known, reservations)

    def show(
        self,
        attachments: Iterable[Attachment],
        reservations: Iterable[Reservation],
        ids: AbstractSet[int],
        addresses: AbstractSet[str],
        *,
        cause: int,
    ) -> None:
        """Show what other nodes wrote; those of ``ids`` and ``addresses`` that are not there have ended."""
        self._attachments.show(attachments, ids, cause)
        self._attachments.allocation.show(reservations, addresses)

    @property
    def lock(self) -> asyncio.Lock:
        """Held while attachments and reservations are written, or read and shown."""
        return self._attachments.pending.lock

    def keys(self) -> tuple[set[int], set[str]]:
        """Return the ids of all attachments, and the addresses of all written reservations."""
        return {each.id for each in self._attachments.index}, self._attachments.allocation.stored()

    # ---- requests of the mobile core ----------------------------------------------------------

    def holds(self, report: MobileReport, again: Callable[[], None], *, octets: int) -> bool:
        """
        Return whether a request about an unknown subscriber has to wait until the registry was asked.

        Args:
            again: Handles the request again.
            octets: Size of the request.
        """
        if self._subscribers.match(report.imsi, report.imei).device is not None:
            return False
        return self._questions.hold(again, host=None, octets=octets)  # a NAS asks for many subscribers

    def access(self, report: MobileReport, *, accounting: bool) -> Accepted | Refused:
        """
        Decide an attach request.

        Args:
            accounting: True if the NAS sends accounting; otherwise the Access-Accept starts the attachment.
        """
        cause = self._bus.new_id()
        match = self._subscribers.match(report.imsi, report.imei)
        self._subscribers.publish_faults(match, report, cause)
        device = match.device
        if match.rejected is not None:
            return Refused(match.rejected)
        if device is None and not self._accepts_mismatches:
            return Refused(match.mismatches[0].name)
        if device is not None and not (device.enabled and device.collection.enabled):
            disabled = CiotRejectedReason.COLLECTION_DISABLED if device.enabled else CiotRejectedReason.DEVICE_DISABLED
            return self._subscribers.refuse(disabled, report, device.origin, cause)
        allocation = self._attachments.allocation
        now = self._clock.monotonic()
        subscriber = Subscriber.of(device, report.imsi, report.imei, printable(report.apn))
        lease = allocation.reserve(subscriber, now, ipv4=report.wants_ipv4, ipv6=report.wants_ipv6)
        if lease is None:
            origin = device.origin if device else UNATTRIBUTED
            return self._subscribers.refuse(CiotRejectedReason.NO_ADDRESS, report, origin, cause)
        waits = not accounting or allocation.is_stored(lease)
        accepted = Accepted(lease.address, lease.prefix, b"S" + secrets.token_bytes(15), waits)
        if accounting:
            accepted = replace(accepted, holds=partial(allocation.holds, subscriber, lease))
        if not accounting:
            self.accounting.apply(
                report._replace(
                    session=report.session or f"{BY_ACCEPT}{accepted.class_.hex()}",
                    address=lease.address or report.address,
                    prefix=lease.prefix or report.prefix,
                ),
                cause,
            )
        elif device is not None:
            self._subscribers.update(device, report)
        return accepted

    def refused(self, reason: CiotRejectedReason, *, nas: str, remote: Remote) -> None:
        """Publish that the listener rejected a request without proof of its sender."""
        cause = self._bus.new_id()
        self._subscribers.refuse_request(reason, nas=nas, remote=remote, cause=cause)

    @property
    def is_behind(self) -> bool:
        """True while so many changes wait for the registry that no request may add one."""
        return self._attachments.pending.is_full

    async def commit(self) -> None:
        """
        Wait until the registry holds all changes of the calls before. Cancelling loses nothing.

        Raises:
            StorageUnavailable: The write failed; the next call writes the changes.
        """
        while self.accounting.has_restarted:
            await asyncio.sleep(0)
            self.accounting.end_restarted()
        await self._attachments.pending.commit()

    # ---- edits through the API ----------------------------------------------------------------

    def device_created(self, device: Device, cause: int) -> None:
        """Assign the open attachments of a new device to it; its static address may be in use."""
        self._match_again(device, cause)
        self._check_address(device)

    def device_updated(self, device: Device, change: DeviceChange, cause: int) -> None:
        """Assign attachments anew if numbers were edited; addresses reported by the mobile core stay."""
        if change.imsi is not None or change.imei is not None:
            self._match_again(device, cause)
        if change.allocated_ip is not None or change.static_ip is not None:
            self._check_address(device)

    def device_removed(self, device: Device, cause: int) -> None:
        """Take the attachments from a removed device; they stay open in the mobile core, so their addresses too."""
        for each in self._attachments.index.of_device(device):
            self._attachments.unassign(each, CiotDisconnectReason.DEVICE_REMOVED, cause)

    def _match_again(self, device: Device, cause: int) -> None:
        """Match the attachments that have old or new numbers of an edited device."""
        index = self._attachments.index
        candidates = {each.id: each for each in index.of_device(device)}
        candidates |= {each.id: each for each in index.of_numbers(device.config.imsi, device.config.imei)}
        for each in candidates.values():
            match = self._subscribers.match(each.imsi, each.imei)
            if match.device is each.device or each not in index:
                continue
            self._attachments.unassign(each, CiotDisconnectReason.IDENTITY_CHANGED, cause)
            for mismatch in match.mismatches:
                self._subscribers.publish_mismatch(mismatch, cause)
            if match.device is not None:
                self._attachments.assign(each, match.device, {}, cause)

    def _check_address(self, device: Device) -> None:
        """Restore the addresses of attachments after an edit of a device's address: the mobile core overrules it."""
        address, addresses = device.ciot.allocated_ip, self._attachments.addresses
        holder = self._attachments.index.holder(prefix_of(address) if ":" in address else address)
        if holder is not None or self._attachments.index.of_device(device):
            addresses.update(device)
        if holder is not None and holder.device is not None:
            addresses.update(holder.device)  # it attached while the edit was written

    # ---- timers and metrics -------------------------------------------------------------------

    def sweep(self) -> None:
        """End attachments without reports, publish silent devices and summaries; called about once a second."""
        self._attachments.sweep()
        self._subscribers.sweep()

    async def lead(self) -> None:
        """
        Run the timers of attachments as one of several nodes, see `Attachments.lead`.

        Raises:
            StorageUnavailable: The database cannot be used; the next call tries again.
        """
        await self._attachments.lead()

    def metrics(self) -> list[Metric]:
        """List the metrics; each bound of the configuration has its gauge."""
        return [*self._attachments.metrics(), *self._subscribers.metrics(), *self.accounting.metrics()]
