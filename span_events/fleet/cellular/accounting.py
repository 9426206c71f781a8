"""
Accounting: starts, updates and ends attachments by the accounting records of the mobile core.

A record that arrives again changes nothing and publishes nothing, since a NAS retransmits. Records may overtake
each other; late ones are ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import CellularConfig
from span_events.events.reasons import CiotDisconnectReason
from span_events.fleet.cellular.attachments import Attachments, Location
from span_events.fleet.cellular.leases import Lease, Subscriber, own_lease
from span_events.fleet.cellular.ordering import SessionKey, Stops, is_late
from span_events.fleet.cellular.report import MobileReport
from span_events.fleet.cellular.subscribers import Subscribers
from span_events.ids import render
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.registry.model import Attachment

log = get_logger("cellular")

_SLICE: Final = 1_000
"""Upper bound of attachments that end without a pause when a NAS restarted; then other tasks run."""
_MISSED: Final = 3
"""Number of missed Interim-Updates after which an attachment times out."""
_GRACE: Final = 60.0
"""Seconds added to the time of the missed Interim-Updates."""

BY_ACCEPT: Final = "access-"
"""Prefix of the session name of an attachment that began with an Access-Accept, without an Acct-Session-Id."""


class Accounting:
    """
    The accounting records of every NAS.

    Args:
        interim_intervals: Seconds between Interim-Updates by the name of a NAS; a missing NAS sends none.
    """

    def __init__(
        self,
        config: CellularConfig,
        *,
        bus: Bus,
        interim_intervals: Mapping[str, float],
        attachments: Attachments,
        subscribers: Subscribers,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._intervals = interim_intervals
        self._attachments = attachments
        self._index = attachments.index
        self._subscribers = subscribers
        self._clock = clock
        self._stops = Stops(config.stops)
        self._restarted: dict[Attachment, int] = {}  # attachments that end soon, with the request that ended them
        self._ignored: Counter[str] = Counter()

    def start(self, report: MobileReport) -> None:
        """Accept a Start."""
        self.apply(report, self._cause())

    def interim(self, report: MobileReport) -> None:
        """Accept an Interim-Update; without a Start before, it starts the attachment."""
        attachment = self.apply(report, self._cause())
        interval = self._intervals.get(report.nas)
        if attachment is not None and interval:  # a NAS with a configured interval may still send none
            self._attachments.renew(attachment, _MISSED * interval + _GRACE)

    def stop(self, report: MobileReport) -> None:
        """Accept a Stop."""
        session = _session_of(report)
        attachment = self._index.find(*session)
        self._stops.add(session, report.time_ms)
        if attachment is None:
            attachment = self._started_by_accept(report)
        if attachment is None or _has_other_sim(attachment, report):
            self._ignored["unknownStop"] += 1
            return
        self._attachments.end(
            attachment,
            CiotDisconnectReason.STOP,
            self._cause(),
            terminate_cause=report.terminate_cause,
            seconds=report.session_seconds,
        )

    def nas_restarted(self, nas: str, nas_address: str, *, off: bool, seconds_ago: int = 0) -> None:
        """
        Accept an Accounting-On or Accounting-Off: the sessions of a node end.

        Args:
            nas: Name of the NAS that sent the request, so that no NAS can end the sessions of another.
            off: True for Accounting-Off.
            seconds_ago: Acct-Delay-Time; attachments that started since then stay.
        """
        node = printable(nas_address)
        ended = self._index.of_nas(nas, node)
        if seconds_ago:
            happened_ms = self._clock.time_ns() // 1_000_000 - seconds_ago * 1000
            ended = [each for each in ended if each.attached_ms <= happened_ms]
        write = log.info if ended else log.debug
        status = "Accounting-Off" if off else "Accounting-On"
        write("nas_restarted", nas=nas, nas_address=node, status=status, attachments=len(ended))
        cause = self._cause()
        self._restarted |= dict.fromkeys(ended, cause)
        self.end_restarted()

    def apply(self, report: MobileReport, cause: int) -> Attachment | None:
        """Start or update the attachment of a record; None if the record is late and ignored."""
        session = _session_of(report)
        known = self._index.find(*session)
        if known is not None and known in self._restarted:
            self._attachments.end(known, CiotDisconnectReason.NAS_RESTARTED, self._restarted.pop(known))
            known = None
        elif known is not None and _has_other_sim(known, report):
            self._attachments.end(known, CiotDisconnectReason.REPLACED, cause)  # the NAS used its number again
            known = None
        if known is None:
            if self._stops.overtook(session, report.time_ms):
                self._ignored["late"] += 1
                return None
            return self._start(report, session, cause)
        self._attachments.renew(known)
        if not is_late(report.time_ms, known.reported_ms):
            self._update(known, report, cause)
        return known

    @property
    def has_restarted(self) -> bool:
        """True while attachments of a restarted NAS have yet to end."""
        return bool(self._restarted)

    def end_restarted(self) -> None:
        """End some of the attachments of restarted NAS."""
        for attachment in list(islice(self._restarted, _SLICE)):
            cause = self._restarted.pop(attachment)
            if attachment in self._index:
                self._attachments.end(attachment, CiotDisconnectReason.NAS_RESTARTED, cause)

    def metrics(self) -> list[Metric]:
        """List the metrics of accounting records."""
        return [
            Metric(
                "cellular_stops",
                "Stops in memory, to recognize late records; at most cellular.stops.",
                "gauge",
                lambda: len(self._stops),
            ),
            Metric(
                "cellular_ignored",
                "Accounting records without effect: late ones, and Stops of unknown sessions.",
                "counter",
                lambda: {each: self._ignored[each] for each in ("late", "unknownStop")},
                label="reason",
            ),
        ]

    # ---- parts --------------------------------------------------------------------------------

    def _started_by_accept(self, report: MobileReport) -> Attachment | None:
        """Find the attachment of a Stop from a NAS that is configured to send no accounting."""
        holder = self._index.holder(report.address or report.prefix)
        if holder is None or not holder.session.startswith(BY_ACCEPT):
            return None
        return holder if (holder.nas, holder.imsi) == (report.nas, report.imsi) else None

    def _start(self, report: MobileReport, session: SessionKey, cause: int) -> Attachment | None:
        attachment = self._attachment_of(report, session)
        match = self._subscribers.match(report.imsi, report.imei)
        device = match.device
        conflicting = self._index.conflicting(attachment, device)
        for each in conflicting:
            same_node = (each.nas, each.nas_address) == (attachment.nas, attachment.nas_address)
            if same_node and is_late(attachment.reported_ms, each.reported_ms):
                self._ignored["late"] += 1
                return None
        used = Lease(attachment.address, attachment.prefix)
        subscriber = Subscriber.of(device, attachment.imsi, attachment.imei, attachment.apn)
        expected = self._attachments.allocation.withdraw(subscriber, used=used)
        if expected is None:
            self._subscribers.publish_faults(match, report, cause)  # else the access request published them
            expected = own_lease(device)
        connected = {**_location(report), "expected_ip": _unused_address(expected, used)}
        if device is not None:
            self._subscribers.update(device, report)
        if device is not None and match.ambiguous_with is not None:
            log.info("hardware_of_another_device", device=render(device.id), other=render(match.ambiguous_with.id))
        self._attachments.start(attachment, device, conflicting, connected, cause)
        return attachment

    def _update(self, attachment: Attachment, report: MobileReport, cause: int) -> None:
        """Update an attachment; it is assigned to a device that was created or edited since its start."""
        attachment.reported_ms = report.time_ms or attachment.reported_ms  # no reason to write the attachment
        address, prefix = report.address or attachment.address, report.prefix or attachment.prefix
        self._attachments.set_addresses(attachment, address, prefix, cause)
        self._add_numbers(attachment, report, cause)
        device = attachment.device
        if device is None:
            device = self._subscribers.match(attachment.imsi, attachment.imei).device
            if device is not None:
                self._attachments.assign(attachment, device, _location(report), cause)
        if device is not None:
            self._subscribers.update(device, report)

    def _add_numbers(self, attachment: Attachment, report: MobileReport, cause: int) -> None:
        """Add an IMSI or IMEI that is reported for the first time; the attachment may then belong to another device."""
        imsi, imei = attachment.imsi or report.imsi, attachment.imei or report.imei
        if (imsi, imei) == (attachment.imsi, attachment.imei):
            return
        self._attachments.set_numbers(attachment, imsi, imei)
        match = self._subscribers.match(imsi, imei)
        if match.device is not attachment.device:
            self._attachments.unassign(attachment, CiotDisconnectReason.IDENTITY_CHANGED, cause)
        self._subscribers.publish_faults(match, report, cause)

    def _attachment_of(self, report: MobileReport, session: SessionKey) -> Attachment:
        time_ns = self._clock.time_ns()
        return Attachment(
            self._bus.new_id(time_ns),
            *session,
            None,
            time_ns // 1_000_000,
            report.imsi,
            report.imei,
            printable(report.apn),
            report.address,
            report.prefix,
            report.time_ms,
        )

    def _cause(self) -> int:
        """Return a new identifier for a request, the correlation id of its events."""
        return self._bus.new_id()


def printable(text: str) -> str:
    """Escape characters in the text of a NAS that databases reject (NUL, surrogates) and other non-ASCII ones."""
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _session_of(report: MobileReport) -> SessionKey:
    """Return the key of a session, unique across NAS; a session without identifier is named by its subscriber."""
    name = report.session or report.imsi or report.imei or report.address or report.prefix
    return report.nas, printable(report.nas_address), printable(name)


def _has_other_sim(attachment: Attachment, report: MobileReport) -> bool:
    """Return True if a NAS used one session identifier for two subscribers."""
    return bool(report.imsi and attachment.imsi) and report.imsi != attachment.imsi


def _unused_address(expected: Lease, used: Lease) -> str | None:
    """Return the expected address if the subscriber has another one; an address not yet reported is not another."""
    pairs = zip(expected, used, strict=True)
    return next((wanted for wanted, has in pairs if wanted and has and wanted != has), None)


def _location(report: MobileReport) -> Location:
    return {
        "cell_id": report.cell_id or None,
        "mcc": f"{report.mcc:03}" if report.mcc else None,
        "mnc": report.mnc or None,
        "network": report.network or None,
        "rat": report.rat or None,
    }
