"""
What the mobile core tells: devices attach, are refused, go on, detach.

The listener calls plain functions that never raise and never await, one for each request, and before it
answers `Cellular.commit`, which waits until the registry has what changed. Asking for the same twice changes
nothing and tells nothing, since requests come again. Lifetimes are measured by our clock; what the mobile core
says of time serves only to tell which of two requests of a NAS was made first.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from itertools import islice
from operator import attrgetter
from typing import Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import CellularConfig, RejectionsConfig
from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.reasons import CiotDisconnectReason, CiotRejectedReason
from span_events.fleet.cellular.leases import Lease, Subscriber, own_lease
from span_events.fleet.cellular.match import Match, Mismatch, decide
from span_events.fleet.cellular.presence import Location, Presence
from span_events.fleet.cellular.refusals import Refusals
from span_events.fleet.cellular.report import Accepted, MobileReport, Refused
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.devices.inbound import Reception
from span_events.ids import IdGenerator, render
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.net import Remote
from span_events.registry.addresses import prefix_of
from span_events.registry.directory import Directory
from span_events.registry.model import Attachment, Device, Reservation
from span_events.registry.store import Store

log = get_logger("cellular")

_SLICE: Final = 1_000
"""Attachments that end at once when a NAS was restarted, at most; then everything else gets its turn."""
_MISSED: Final = 3
"""Interim-Updates that have to be missed before an attachment counts as gone."""
_GRACE: Final = 60.0
"""Seconds that are added to that."""

_LATE_MS: Final = 15 * 60_000
"""By how much news of a NAS can be older than what is known, at most: if it is older, its clock was set back."""

_BY_ACCEPT: Final = "access-"
"""Begins the name of a session that began with an Accept; its NAS has no name for it, or has not told it."""

_seen: Final = attrgetter("last_imsi", "last_imei", "cell_id", "mcc", "mnc")
"""What requests tell of a device again and again."""


class Cellular:
    """
    The mobile network, as RADIUS tells of it.

    Args:
        interim_intervals: Seconds between Interim-Updates, by the name of a NAS; one that is not there sends none.
    """

    def __init__(
        self,
        config: CellularConfig,
        *,
        rejections: RejectionsConfig,
        interim_intervals: Mapping[str, float],
        bus: Bus,
        store: Store,
        directory: Directory,
        reception: Reception,
        clock: Clock,
        identifiers: IdGenerator,
    ) -> None:
        self._accepts_mismatches = config.on_mismatch == "accept"
        self._most_stops = config.stops
        self._intervals = interim_intervals
        self._directory = directory
        self._reception = reception
        self._clock = clock
        self._identifiers = identifiers
        self._presence = Presence(config, bus=bus, store=store, directory=directory, reception=reception, clock=clock)
        self._attachments = self._presence.attachments
        self._refusals = Refusals(config, rejections, bus=bus)
        self._restarted: dict[Attachment, int] = {}  # to be ended, and the request that says so
        self._stopped: OrderedDict[tuple[str, str, str], int] = OrderedDict()  # when, by the clock of the NAS
        self._ignored: Counter[str] = Counter()

    def fill(self, attachments: Iterable[Attachment], reservations: Iterable[Reservation]) -> None:
        """Take over what the registry holds, of which the numbers of a device may be newer than whose a session is."""
        known = list(attachments)
        for each in known:
            if self._match(each.imsi, each.imei).device is not each.device:
                each.device = None  # its next Interim-Update tells whose it is
        self._presence.fill(known, reservations)

    # ---- what the listener sees ---------------------------------------------------------------

    def access(self, report: MobileReport, *, accounting: bool) -> Accepted | Refused:
        """
        Somebody wants to attach.

        Args:
            accounting: Whether this NAS will tell of the session; if not, being let in is to be attached.
        """
        cause = self._cause()
        match = self._match(report.imsi, report.imei)
        self._tell(match, report, cause)
        device = match.device
        if match.rejected is not None:
            return Refused(match.rejected)
        if device is None and not self._accepts_mismatches:
            return Refused(match.mismatches[0].name)
        if device is not None and not (device.enabled and device.collection.enabled):
            closed = CiotRejectedReason.COLLECTION_DISABLED if device.enabled else CiotRejectedReason.DEVICE_DISABLED
            return self._refuse(closed, report, device.origin, cause)
        now = self._clock.monotonic()
        subscriber = Subscriber.of(device, report.imsi, report.imei, _text(report.apn))
        lease = self._presence.allocation.reserve(subscriber, now, ipv4=report.wants_ipv4, ipv6=report.wants_ipv6)
        if lease is None:
            origin = device.origin if device else UNATTRIBUTED
            return self._refuse(CiotRejectedReason.NO_ADDRESS, report, origin, cause)
        waits = not accounting or self._presence.allocation.is_stored(lease)
        accepted = Accepted(lease.address, lease.prefix, b"S" + secrets.token_bytes(15), waits)
        if not accounting:
            self._heard(
                report._replace(
                    session=report.session or f"{_BY_ACCEPT}{accepted.class_.hex()}",
                    address=lease.address or report.address,
                    prefix=lease.prefix or report.prefix,
                ),
                cause,
            )
        elif device is not None:
            self._note(device, report)
        return accepted

    def start(self, report: MobileReport) -> None:
        """Accounting begins."""
        self._heard(report, self._cause())

    def interim(self, report: MobileReport) -> None:
        """Accounting goes on; this may be the first that we hear of it."""
        attachment = self._heard(report, self._cause())
        interval = self._intervals.get(report.nas)
        if attachment is not None and interval:  # a NAS that was asked for them may send none at all
            self._presence.heard(attachment, _MISSED * interval + _GRACE)

    def stop(self, report: MobileReport) -> None:
        """Accounting ends."""
        session = _session_of(report)
        attachment = self._attachments.find(*session)
        self._stopped[session] = report.time_ms
        self._stopped.move_to_end(session)
        if len(self._stopped) > self._most_stops:
            self._stopped.popitem(last=False)
        if attachment is None:
            attachment = self._began_by_accept(report)
        if attachment is None or _is_of_another_sim(attachment, report):
            self._ignored["unknownStop"] += 1
            return
        self._presence.end(
            attachment,
            CiotDisconnectReason.STOP,
            self._cause(),
            words=report.terminate_cause,
            seconds=report.session_seconds,
        )

    def nas_restarted(self, nas: str, nas_address: str, *, off: bool, seconds_ago: int = 0) -> None:
        """
        A node of a NAS was started, or is about to stop: its sessions are gone.

        Args:
            nas: The NAS by the sender of the request, so that none can end another's sessions.
            off: It is about to stop (Accounting-Off).
            seconds_ago: How long it has tried to tell that; what attached meanwhile is not gone.
        """
        node = _text(nas_address)
        gone = self._attachments.of_nas(nas, node)
        if seconds_ago:
            happened_ms = self._clock.time_ns() // 1_000_000 - seconds_ago * 1000
            gone = [each for each in gone if each.attached_ms <= happened_ms]
        tell = log.info if gone else log.debug
        said = "Accounting-Off" if off else "Accounting-On"
        tell("nas_restarted", nas=nas, nas_address=node, said=said, sessions=len(gone))
        cause = self._cause()
        self._restarted |= dict.fromkeys(gone, cause)
        self._end_restarted()

    def refused(self, reason: CiotRejectedReason, *, nas: str, remote: Remote) -> None:
        """The listener itself has refused a request, of which nothing proves what it says."""
        self._refusals.rejected(reason, nas=nas, remote=remote, now=self._clock.monotonic(), cause=self._cause())

    @property
    def is_behind(self) -> bool:
        """Whether the registry has to be written before anything else may change."""
        return self._presence.pending.is_full

    async def commit(self) -> None:
        """
        Wait until everything that the calls before changed is in the registry. Cancelling loses nothing.

        Raises:
            StorageUnavailable: It is not; what changed is written with the next call.
        """
        while self._restarted:
            await asyncio.sleep(0)
            self._end_restarted()
        await self._presence.pending.commit()

    # ---- what the API did ---------------------------------------------------------------------

    def device_created(self, device: Device, cause: int) -> None:
        """A device is new: it may be attached already, or somebody else may have its address."""
        self._match_again(device, cause)
        self._check_address(device)

    def device_updated(self, device: Device, change: DeviceChange, cause: int) -> None:
        """A device is another: attachments may be its own now, or no longer. Its address is what the network says."""
        if change.imsi is not None or change.imei is not None:
            self._match_again(device, cause)
        if change.allocated_ip is not None or change.static_ip is not None:
            self._check_address(device)

    def device_removed(self, device: Device, cause: int) -> None:
        """A device is gone. The mobile network still has its attachments, so their addresses are not free."""
        for each in self._attachments.of_device(device):
            self._presence.leave(each, CiotDisconnectReason.DEVICE_REMOVED, cause)

    # ---- what time brings ---------------------------------------------------------------------

    def sweep(self) -> None:
        """Once a second or so: end what there was no news of, tell of silence, sum up what was not told."""
        self._presence.sweep()
        self._refusals.sweep(self._clock.monotonic())

    def metrics(self) -> list[Metric]:
        """List what is counted; each bound of the configuration has its gauge."""
        return [
            *self._presence.metrics(),
            *self._refusals.metrics(),
            Metric(
                "cellular_stops",
                "Stops in memory, to tell what they overtook; at most cellular.stops.",
                "gauge",
                lambda: len(self._stopped),
            ),
            Metric(
                "cellular_ignored",
                "Requests of the mobile core without effect: older than what is known, or a Stop of no session.",
                "counter",
                lambda: {each: self._ignored[each] for each in ("late", "unknownStop")},
                label="reason",
            ),
        ]

    # ---- parts --------------------------------------------------------------------------------

    def _heard(self, report: MobileReport, cause: int) -> Attachment | None:
        """Take in news of a session; None if it is older than its end, or than what came in its place."""
        known = self._attachments.find(*_session_of(report))
        if known is not None and known in self._restarted:
            self._presence.end(known, CiotDisconnectReason.NAS_RESTARTED, self._restarted.pop(known))
            known = None
        elif known is not None and _is_of_another_sim(known, report):
            self._presence.end(known, CiotDisconnectReason.REPLACED, cause)  # the NAS counts its sessions from new
            known = None
        if known is None:
            if _is_late(report.time_ms, self._stopped.get(_session_of(report), 0)):
                self._ignored["late"] += 1
                return None
            return self._begin(report, cause)
        self._presence.heard(known)
        if not _is_late(report.time_ms, known.told_ms):
            self._go_on(known, report, cause)
        return known

    def _began_by_accept(self, report: MobileReport) -> Attachment | None:
        """Find what a NAS means that was said to send no accounting: it has told no name of it."""
        holder = self._attachments.holder(report.address or report.prefix)
        if holder is None or not holder.session.startswith(_BY_ACCEPT):
            return None
        return holder if (holder.nas, holder.imsi) == (report.nas, report.imsi) else None

    def _begin(self, report: MobileReport, cause: int) -> Attachment | None:
        attachment = self._attachment_of(report)
        match = self._match(report.imsi, report.imei)
        device = match.device
        rivals = self._presence.rivals(attachment, device)
        for rival in rivals:
            same_node = (rival.nas, rival.nas_address) == (attachment.nas, attachment.nas_address)
            if same_node and _is_late(attachment.told_ms, rival.told_ms):
                self._ignored["late"] += 1
                return None
        used = Lease(attachment.address, attachment.prefix)
        subscriber = Subscriber.of(device, attachment.imsi, attachment.imei, attachment.apn)
        promised = self._presence.allocation.withdraw(subscriber, used=used)
        if promised is None:
            self._tell(match, report, cause)  # else it was told with the request to let them in
            promised = own_lease(device)
        connected = {**_location(report), "expected_ip": _passed_over(promised, used)}
        if device is not None:
            self._note(device, report)
        if device is not None and match.ambiguous_with is not None:
            log.info("hardware_of_another_device", device=render(device.id), other=render(match.ambiguous_with.id))
        self._presence.begin(attachment, device, rivals, connected, cause)
        return attachment

    def _go_on(self, attachment: Attachment, report: MobileReport, cause: int) -> None:
        """Take in what is new about an attachment; perhaps it is a device's by now."""
        attachment.told_ms = report.time_ms or attachment.told_ms  # by itself not worth a write
        self._presence.move(attachment, report.address or attachment.address, report.prefix or attachment.prefix, cause)
        self._complete(attachment, report, cause)
        device = attachment.device
        if device is None:
            device = self._match(attachment.imsi, attachment.imei).device
            if device is not None:
                self._presence.join(attachment, device, _location(report), cause)
        if device is not None:
            self._note(device, report)

    def _complete(self, attachment: Attachment, report: MobileReport, cause: int) -> None:
        """Take in an IMSI or IMEI that was not told before; perhaps it shows that the device is another."""
        imsi, imei = attachment.imsi or report.imsi, attachment.imei or report.imei
        if (imsi, imei) == (attachment.imsi, attachment.imei):
            return
        self._presence.complete(attachment, imsi, imei)
        match = self._match(imsi, imei)
        if match.device is not attachment.device:
            self._presence.leave(attachment, CiotDisconnectReason.IDENTITY_CHANGED, cause)
        self._tell(match, report, cause)

    def _match(self, imsi: str, imei: str) -> Match:
        directory = self._directory
        return decide(imsi, imei, of_imsi=directory.device_with_imsi(imsi), of_imei=directory.device_with_imei(imei))

    def _match_again(self, device: Device, cause: int) -> None:
        """A device has other numbers: see whose the attachments are."""
        candidates = {each.id: each for each in self._attachments.of_device(device)}
        candidates |= {each.id: each for each in self._attachments.of_numbers(device.config.imsi, device.config.imei)}
        for each in candidates.values():
            match = self._match(each.imsi, each.imei)
            if match.device is each.device or each not in self._attachments:
                continue
            self._presence.leave(each, CiotDisconnectReason.IDENTITY_CHANGED, cause)
            for mismatch in match.mismatches:
                self._tell_mismatch(mismatch, cause)
            if match.device is not None:
                self._presence.join(each, match.device, {}, cause)

    def _check_address(self, device: Device) -> None:
        """A device was given an address by hand; what the mobile core has told of it and of others counts more."""
        address = device.ciot.allocated_ip
        holder = self._attachments.holder(prefix_of(address) if ":" in address else address)
        if holder is not None or self._attachments.of_device(device):
            self._presence.place(device)
        if holder is not None and holder.device is not None:
            self._presence.place(holder.device)  # it got the address while the call was written

    def _tell(self, match: Match, report: MobileReport, cause: int) -> None:
        """Publish what is wrong with those who attach."""
        for mismatch in match.mismatches:
            self._tell_mismatch(mismatch, cause)
        if match.rejected is not None:
            self._refuse(match.rejected, report, match.origin, cause)

    def _tell_mismatch(self, mismatch: Mismatch, cause: int) -> None:
        device = self._directory.devices[mismatch.origin.device_id or 0]
        now = self._clock.monotonic()
        self._refusals.mismatch(mismatch, episode=device.traffic.attachments, now=now, cause=cause)

    def _refuse(self, reason: CiotRejectedReason, report: MobileReport, origin: Origin, cause: int) -> Refused:
        self._refusals.rejected(
            reason,
            nas=report.nas,
            imsi=report.imsi,
            imei=report.imei,
            now=self._clock.monotonic(),
            cause=cause,
            origin=origin,
        )
        return Refused(reason)

    def _note(self, device: Device, report: MobileReport) -> None:
        """Let a device show where its SIM was seen, and in which hardware; when it was, by itself, is not written."""
        ciot = device.ciot
        before = _seen(ciot)
        ciot.last_update = self._clock.time_ns() // 1_000_000
        ciot.last_imsi = report.imsi or ciot.last_imsi
        ciot.last_imei = report.imei or ciot.last_imei
        ciot.cell_id = report.cell_id or ciot.cell_id
        if report.mcc:
            ciot.mcc, ciot.mnc = report.mcc, int(report.mnc or 0)
            ciot.network = report.network
            ciot.country, ciot.country_code = report.country, report.country_code
        if _seen(ciot) != before:
            self._reception.changed(device)

    def _end_restarted(self) -> None:
        """End some of the attachments whose NAS was restarted."""
        for attachment in list(islice(self._restarted, _SLICE)):
            cause = self._restarted.pop(attachment)
            if attachment in self._attachments:
                self._presence.end(attachment, CiotDisconnectReason.NAS_RESTARTED, cause)

    def _attachment_of(self, report: MobileReport) -> Attachment:
        nas, nas_address, session = _session_of(report)
        time_ns = self._clock.time_ns()
        return Attachment(
            self._identifiers.next(time_ns),
            nas,
            nas_address,
            session,
            None,
            time_ns // 1_000_000,
            report.imsi,
            report.imei,
            _text(report.apn),
            report.address,
            report.prefix,
            report.time_ms,
        )

    def _cause(self) -> int:
        """Make the number of a request, which its events carry."""
        return self._identifiers.next(self._clock.time_ns())


def _session_of(report: MobileReport) -> tuple[str, str, str]:
    """What a NAS calls a session; another NAS may call another one so. One without a name has its subscriber's."""
    name = report.session or report.imsi or report.imei or report.address or report.prefix
    return report.nas, _text(report.nas_address), _text(name)


def _is_late(time_ms: int, known_ms: int) -> bool:
    """Tell whether a request was made before another one of the same node; what has no time is never late."""
    return 0 < time_ms < known_ms <= time_ms + _LATE_MS


def _is_of_another_sim(attachment: Attachment, report: MobileReport) -> bool:
    """Tell whether a NAS has used the number of a session for two of them."""
    return bool(report.imsi and attachment.imsi) and report.imsi != attachment.imsi


def _passed_over(promised: Lease, used: Lease) -> str | None:
    """Return what a subscriber was to have and has another one for; what was not told yet is not another one."""
    pairs = zip(promised, used, strict=True)
    return next((wanted for wanted, has in pairs if wanted and has and wanted != has), None)


def _text(text: str) -> str:
    """Take what a NAS wrote; no database holds NUL or half a surrogate pair."""
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _location(report: MobileReport) -> Location:
    return {
        "cell_id": report.cell_id or None,
        "mcc": f"{report.mcc:03}" if report.mcc else None,
        "mnc": report.mnc or None,
        "network": report.network or None,
        "rat": report.rat or None,
    }
