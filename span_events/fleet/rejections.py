"""Rejections of messages and clients, and duplicates: published one by one up to a burst, then as a summary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import RejectionsConfig
from span_events.events.activity import UNATTRIBUTED, Origin, SpanId
from span_events.events.catalogue import ClientRejected, MessageDuplicate, MessageRejected
from span_events.events.marks import Mark
from span_events.events.message import Transport
from span_events.events.reasons import ClientRejectedReason, DisconnectReason, DuplicateReason, MessageRejectedReason
from span_events.fleet.identity import FormerHolder
from span_events.fleet.summaries import OTHERS, Summaries
from span_events.metrics import Measure, Metric, TableMetric
from span_events.net import Remote, neighbourhood_of, render_remote
from span_events.registry.model import Device, Gateway

_TRANSMIT_SPAN: Final = 45.0
"""Seconds from the first transmission of a CON to the last one at most (MAX_TRANSMIT_SPAN, RFC 7252 §4.8.2)."""

_FLOODS: Final = frozenset({MessageRejectedReason.RATE_LIMITED, MessageRejectedReason.UNREADABLE_RECORD})
"""Reasons that come in floods: the first event of a window has a count already."""


class Rejections:
    """Counts each occurrence, and publishes it unless its sender has exceeded the burst."""

    def __init__(self, config: RejectionsConfig, *, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._summaries = Summaries(
            bus=bus,
            clock=clock,
            burst=config.burst,
            window=config.window,
            senders=config.senders,
            others={"detail": OTHERS, "remote_address": None},
        )
        self.messages: defaultdict[tuple[str, ...], int] = defaultdict(int)
        """Number of rejected messages by transport and reason, published or not."""
        self.clients: dict[str, int] = dict.fromkeys(ClientRejectedReason, 0)
        """Number of rejected clients by reason, published or not."""

    @property
    def unpublished(self) -> int:
        """Number of rejections in no event, because rejections.senders was reached."""
        return self._summaries.unpublished

    def metrics(self) -> list[Measure]:
        """Return the metrics."""
        return [
            TableMetric(
                "messages_rejected",
                "Messages that were not accepted.",
                "counter",
                ("transport", "reason"),
                lambda: self.messages,
            ),
            Metric(
                "rejections_untold",
                "Rejections in no event, because rejections.senders was reached.",
                "counter",
                lambda: self.unpublished,
            ),
            Metric(
                "clients_rejected",
                "Clients that were not let in.",
                "counter",
                lambda: self.clients,
                label="reason",
            ),
        ]

    def rejected(
        self,
        reason: MessageRejectedReason,
        *,
        device: Device | None,
        remote: Remote,
        transport: Transport,
        size: int | None = None,
        detail: str | None = None,
        at: int | None = None,
        option: int | None = None,
        code: str | None = None,
        mark: Mark | None = None,
        expected: int | None = None,
        received: int | None = None,
        limit: int | None = None,
        model_number: str | None = None,
        image_model_number: str | None = None,
        gateway: Gateway | None = None,
        former: FormerHolder | None = None,
        ended_seconds_ago: int | None = None,
        end_reason: DisconnectReason | None = None,
        kind: str | None = None,
        cause: int | None = None,
    ) -> None:
        """
        Publish a rejected message.

        Published one by one up to a burst per sender and reason, then once per window with a count; a
        flood (`_FLOODS`) once per window. Unlike `client_rejected`, this builds the event only when it is
        published, as floods come here.

        Args:
            kind: What tells this cause from others of the same reason, for a detail with changing numbers.
        """
        self.messages[transport, reason] += 1
        if device is not None:
            device.traffic.rejections += 1
        flood = reason in _FLOODS
        sender: Hashable = neighbourhood_of(remote[0]) if device is None else (device.id, device.collection.id)
        host = None if device is not None else remote[0]
        if kind is None:
            kind = detail if mark is None else mark.looks_like
        fault = (kind, option, code, host)
        burst = 1 if flood else None
        if not self._summaries.admits(sender, reason.value, fault, burst=burst, is_stranger=device is None):
            return
        event = MessageRejected(
            origin=_origin_of(device, gateway),
            correlation_id=cause,
            reason=reason,
            remote_address=render_remote(remote),
            transport=transport,
            bytes=size,
            detail=detail if mark is None else mark.detail,
            at=at,
            option=option,
            code=code,
            looks_like=None if mark is None else mark.looks_like,
            expected_port=None if mark is None else mark.expected_port,
            expected=expected,
            received=received,
            limit=limit,
            model_number=model_number,
            image_model_number=image_model_number,
            ended_at=None if former is None else former.ended,
            terminate_cause=None if former is None else former.cause or None,
            ended_seconds_ago=ended_seconds_ago,
            end_reason=end_reason,
            count=1 if flood else None,
        )
        self._summaries.add(event, sender, reason.value, fault)

    def client_rejected(self, event: ClientRejected) -> None:
        """Publish a rejected client, or count it in the summary of its host, owner and cause."""
        reason = event.reason.value
        self.clients[reason] += 1
        host = event.remote_address.rpartition(":")[0]
        cause = (event.detail, event.identity, event.certificate_serial, event.offered)
        self._summaries.publish(event, host, reason, cause)

    def duplicate(
        self,
        device: Device,
        *,
        transport: Transport,
        message_id: int | None,
        count: int,
        seconds: float,
        confirmable: bool = True,
    ) -> None:
        """Publish a duplicate, up to a burst per window; without a summary, as each event has a count."""
        if not self._summaries.admits(device.id, MessageDuplicate.name):
            return
        reason = None if confirmable else DuplicateReason.NON_CONFIRMABLE
        if seconds > _TRANSMIT_SPAN:
            reason = DuplicateReason.SAME_MESSAGE_ID
        self._bus.publish(
            MessageDuplicate(
                origin=device.origin,
                correlation_id=message_id,
                message_id=None if message_id is None else SpanId(message_id),
                count=count,
                seconds=seconds,
                reason=reason,
                transport=transport,
            )
        )

    def sweep(self) -> None:
        """Publish the summaries of expired windows; called about once a second."""
        self._summaries.sweep()


def _origin_of(device: Device | None, gateway: Gateway | None) -> Origin:
    if device is None:
        return UNATTRIBUTED
    return device.origin if gateway is None else gateway.origin_with(device)
