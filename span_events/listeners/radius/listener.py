"""
RADIUS: receives access requests and accounting records from the mobile core and answers them.

Requests without proof of their sender are dropped without an answer (RFC 2865 §3). Each costs a counter, at most
one log line a minute, and an event that the fleet throttles. Decisions are answered at once. A request that changes
the registry is answered after the write; with an earlier answer a NAS would not retransmit what the server lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import StrEnum
from functools import partial
from typing import Final, assert_never

from span_events.clock import Clock
from span_events.config import RadiusConfig
from span_events.errors import MalformedMessage
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.cellular.attach import Cellular
from span_events.fleet.cellular.report import MobileReport, Refused
from span_events.listeners.base import UdpListener
from span_events.listeners.radius.exchanges import Exchanges
from span_events.listeners.radius.nas import GOOD_SECRET, Nas, NasTable
from span_events.listeners.radius.report import nas_address_of, report_of
from span_events.listeners.udp import UdpSocket
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.net import Remote, render_remote
from span_events.wire.radius.attributes_3gpp import Note, read
from span_events.wire.radius.packets import (
    MAX_LENGTH,
    Attribute,
    Code,
    RadiusRequest,
    StatusType,
    Verdict,
    accept,
    accounting_response,
    decode,
    reject,
    status_answer,
    verify,
)
from span_events.wire.radius.user_name import imsi_of

log = get_logger("listeners.radius")

_REFUSAL: Final = "Not admitted."
"""Reply-Message of every Access-Reject. The reason is in the events, which need a token."""
_LOG_EVERY: Final = 60.0
"""Seconds between log lines about the same fault of the same NAS."""


class Outcome(StrEnum):
    """Outcome of a request; the values are labels of a metric."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    ACCOUNTED = "accounted"
    PROBED = "probed"
    DUPLICATE = "duplicate"
    UNKNOWN_NAS = "unknown_nas"
    MALFORMED = "malformed"
    WRONG_CODE = "wrong_code"
    NO_SIGNATURE = "no_message_authenticator"
    BAD_SIGNATURE = "bad_message_authenticator"
    BAD_AUTHENTICATOR = "bad_authenticator"
    NO_STATUS = "no_status_type"
    BUSY = "busy"


_HINTS: Final = {
    Outcome.MALFORMED: "The octets break RFC 2865: does something other than the NAS send to this port?",
    Outcome.WRONG_CODE: "Let the NAS ask at radius.port, and send accounting to radius.accounting_port.",
    Outcome.NO_STATUS: "The request has no Acct-Status-Type, so it reports nothing: check the NAS.",
    Outcome.BUSY: "More answers wait for the registry than radius.waiting_answers: is the disk slow?",
}
"""Hints of outcomes; for the other outcomes the log shows the hint of the event's reason."""


class Radius(UdpListener):
    """The listener for authentication and accounting, each on its own port."""

    name = "radius"

    def __init__(self, config: RadiusConfig, *, cellular: Cellular, clock: Clock) -> None:
        self._config = config
        self._cellular = cellular
        self._clock = clock
        self._table = NasTable(config)
        self._exchanges = Exchanges(config, commit=cellular.commit, clock=clock)
        self._outcomes: Counter[Outcome] = Counter()
        self._notes: Counter[Note] = Counter()
        self._unproven = 0
        self._logged: dict[tuple[str | None, Outcome], float] = {}  # no more entries than NAS times outcomes
        self._warned: dict[str, float] = {}
        self._authentication = self._socket_at("port", accounting=False)
        self._accounting = self._socket_at("accounting_port", accounting=True)
        super().__init__(self._authentication, self._accounting)

    def _socket_at(self, setting: str, *, accounting: bool) -> UdpSocket:
        return UdpSocket(
            self.name,
            self._config.host,
            getattr(self._config, setting),
            receive_buffer=self._config.receive_buffer,
            receive=partial(self._receive, accounting=accounting),
            setting=f"{self.name}.{setting}",
        )

    @property
    def accounting_address(self) -> str:
        """Bound address of accounting, ``host:port``; `address` is the one of authentication."""
        return render_remote(self._accounting.address)

    @property
    def health(self) -> str:
        """``ok``, or the reason for unanswered accounting."""
        return self._exchanges.health

    def metrics(self) -> list[Metric]:
        """List the metrics; each bound of the configuration has its gauge."""
        return [
            Metric(
                "radius_requests",
                "RADIUS requests by outcome.",
                "counter",
                lambda: {each: self._outcomes[each] for each in Outcome},
                label="outcome",
            ),
            Metric(
                "radius_unreadable",
                "3GPP attributes that could not be read; their requests were accepted without them.",
                "counter",
                lambda: {each: self._notes[each] for each in Note},
                label="attribute",
            ),
            Metric(
                "radius_unproven",
                "Access-Requests accepted without proof of their sender (require_message_authenticator = false).",
                "counter",
                lambda: self._unproven,
            ),
            *self._exchanges.metrics(),
            Metric("radius_defects", "Defects: the handling of a request failed.", "counter", lambda: self.defects),
        ]

    async def start(self) -> None:
        """Bind both ports; raises `ListenerUnavailable` and binds none if one fails."""
        await super().start()
        for nas in self._table.entries:
            if not nas.requires_signature:
                log.warning(
                    "radius_nas_unproven",
                    nas=nas.name,
                    hint="Requests without Message-Authenticator are accepted: a host that can forge a source address "
                    "attaches devices. Switch Message-Authenticator on at the NAS, and require it.",
                )
            if nas.has_short_secret:
                log.warning("radius_secret_short", nas=nas.name, hint=f"Use at least {GOOD_SECRET} random characters.")
            if nas.has_readable_secret:
                hint = f"Every user of this machine can read it; `chmod o= {nas.secret_file}` takes that away."
                log.warning("radius_secret_readable", nas=nas.name, hint=hint)

    async def run(self) -> None:
        """Serve until cancelled; raises an error when a socket is lost."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._exchanges.run())
            await super().run()

    # ---- a request ----------------------------------------------------------------------------

    def _receive(self, datagram: bytes, remote: Remote, *, accounting: bool) -> None:
        nas = self._table.find(remote[0])
        if nas is None:
            self._drop(Outcome.UNKNOWN_NAS, None, remote, hint=f"Add {remote[0]} to [[radius.nas]].")
            self._cellular.refused(CiotRejectedReason.UNKNOWN_NAS, nas=remote[0], remote=remote)
            return
        try:
            request = decode(datagram, nas.secret)
        except MalformedMessage as exc:
            self._drop(Outcome.MALFORMED, nas, remote, detail=str(exc))
            return
        if request.code not in (Code.STATUS_SERVER, Code.ACCOUNTING_REQUEST if accounting else Code.ACCESS_REQUEST):
            self._drop(Outcome.WRONG_CODE, nas, remote, code=request.code)
        elif self._is_proven(request, nas, remote):
            self._handle(request, nas, remote, self._accounting if accounting else self._authentication)

    def _is_proven(self, request: RadiusRequest, nas: Nas, remote: Remote) -> bool:
        verdict = verify(request)
        match verdict:
            case Verdict.PROVEN:
                return True
            case Verdict.UNPROVEN:
                if not nas.requires_signature and request.code == Code.ACCESS_REQUEST:
                    self._unproven += 1
                    return True
                outcome, reason = Outcome.NO_SIGNATURE, CiotRejectedReason.MISSING_AUTHENTICATOR
            case Verdict.BAD_MESSAGE_AUTHENTICATOR:
                outcome, reason = Outcome.BAD_SIGNATURE, CiotRejectedReason.BAD_SECRET
            case Verdict.BAD_AUTHENTICATOR:
                outcome, reason = Outcome.BAD_AUTHENTICATOR, CiotRejectedReason.BAD_SECRET
            case _:
                assert_never(verdict)
        self._drop(outcome, nas, remote, hint=reason.hint)
        self._cellular.refused(reason, nas=nas.name, remote=remote)
        return False

    def _handle(self, request: RadiusRequest, nas: Nas, remote: Remote, socket: UdpSocket) -> None:
        """Answer a Status-Server; answer a duplicate from memory; decide or account every other request."""
        if request.code == Code.STATUS_SERVER:
            self._outcomes[Outcome.PROBED] += 1
            self._exchanges.send(socket, remote, status_answer(request, accounting=socket is self._accounting))
            return
        if self._exchanges.repeat(request, remote):
            self._outcomes[Outcome.DUPLICATE] += 1
            return
        accounts = request.code == Code.ACCOUNTING_REQUEST
        if (accounts or not nas.sends_accounting) and self._is_behind:
            self._drop(Outcome.BUSY, nas, remote)
            return
        if not accounts:
            self._decide(request, nas, remote, socket)
            return
        answer = self._account(request, nas, remote, socket)
        if answer is not None:
            self._exchanges.answer(request, remote, socket, answer, when_written=True)

    @property
    def _is_behind(self) -> bool:
        """Whether nothing more may wait for the registry."""
        return self._exchanges.is_full or self._cellular.is_behind

    def _decide(self, request: RadiusRequest, nas: Nas, remote: Remote, socket: UdpSocket) -> None:
        """Answer an Access-Request with the decision of the fleet. A reject changes nothing, so it never waits."""
        report = self._report(request, nas, remote, socket)
        if report is None:
            return
        decision = self._cellular.access(report, accounting=nas.sends_accounting)
        if isinstance(decision, Refused):
            self._outcomes[Outcome.REJECTED] += 1
            self._exchanges.answer(request, remote, socket, reject(request, _REFUSAL), when_written=False)
            return
        if decision.waits and self._is_behind:
            self._drop(Outcome.BUSY, nas, remote)  # the reservation stays for the retransmission
            return
        self._outcomes[Outcome.ACCEPTED] += 1
        answer = accept(
            request,
            address=decision.address,
            prefix=decision.prefix,
            class_=decision.class_,
            settings=nas.settings,
        )
        self._exchanges.answer(request, remote, socket, answer, when_written=decision.waits, may_leave=decision.holds)

    def _account(self, request: RadiusRequest, nas: Nas, remote: Remote, socket: UdpSocket) -> bytes | None:
        """Forward an accounting record to the fleet; return None if it has no status, or is held."""
        status = request.number(Attribute.ACCT_STATUS_TYPE)
        accounting = self._cellular.accounting
        match status:
            case None:
                self._drop(Outcome.NO_STATUS, nas, remote)
                return None
            case StatusType.ACCOUNTING_ON | StatusType.ACCOUNTING_OFF:
                accounting.nas_restarted(
                    nas.name,
                    nas_address_of(request),
                    off=status == StatusType.ACCOUNTING_OFF,
                    seconds_ago=request.number(Attribute.ACCT_DELAY_TIME) or 0,
                )
            case StatusType.START | StatusType.INTERIM_UPDATE | StatusType.STOP:
                if not nas.sends_accounting:
                    self._warn_unexpected_accounting(nas)
                report = self._report(request, nas, remote, socket)
                if report is None:
                    return None
                if status == StatusType.START:
                    accounting.start(report)
                elif status == StatusType.INTERIM_UPDATE:
                    accounting.interim(report)
                else:
                    accounting.stop(report)
            case _:
                log.debug(
                    "radius_status_unknown", nas=nas.name, status=status
                )  # answered, or the NAS would retransmit it
        self._outcomes[Outcome.ACCOUNTED] += 1
        return accounting_response(request)

    def _warn_unexpected_accounting(self, nas: Nas) -> None:
        """Log that a NAS sends accounting although the configuration says it sends none."""
        now = self._clock.monotonic()
        if now - self._warned.get(nas.name, -_LOG_EVERY) >= _LOG_EVERY:
            self._warned[nas.name] = now
            hint = "It has accounting = false in [[radius.nas]]: set it to true."
            log.warning("radius_unexpected_accounting", nas=nas.name, hint=hint)

    def _report(self, request: RadiusRequest, nas: Nas, remote: Remote, socket: UdpSocket) -> MobileReport | None:
        """Return the report of a request; None if the request is held, as its subscriber is unknown here."""
        mobile = read(request.values(Attribute.VENDOR_SPECIFIC))
        if nas.names_imsi and mobile.imsi is None:
            mobile = mobile._replace(imsi=imsi_of(request.text(Attribute.USER_NAME)))
        report = report_of(request, mobile, nas=nas.name, now_ms=self._now_ms())
        if self._cellular.holds(report, partial(self._handle, request, nas, remote, socket), octets=MAX_LENGTH):
            return None
        if mobile.notes:
            self._notes.update(mobile.notes)
            log.debug("radius_unreadable", nas=nas.name, attributes=mobile.notes)
        return report

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000

    def _drop(self, outcome: Outcome, nas: Nas | None, remote: Remote, *, hint: str = "", **details: object) -> None:
        """Count a request without an answer, and log it at most once a minute."""
        self._outcomes[outcome] += 1
        now = self._clock.monotonic()
        of_nas = {"nas": nas.name} if nas else {}
        key = of_nas.get("nas"), outcome
        last = self._logged.get(key)
        if last is None or now - last >= _LOG_EVERY:
            self._logged[key] = now
            log.warning(
                "radius_request_dropped",
                reason=outcome.value,
                **of_nas,
                remote=remote[0],
                so_far=self._outcomes[outcome],
                **details,
                hint=hint or _HINTS[outcome],
            )
