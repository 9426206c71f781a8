"""The subscriptions of one client: its filters, and one subscriber of the hub for each form of topics."""

from __future__ import annotations

from collections.abc import Sequence

from span_events.errors import Unavailable
from span_events.events.filters import Scope
from span_events.fanout.subscriber import Close, Framing, Sink, Subscriber, encoding
from span_events.web.mqtt.shared import Shared
from span_events.web.mqtt.topics import Form, Pattern, pattern_of, request_of
from span_events.wire.mqtt.reasons import PacketRefused, Reason


class Subscriptions:
    """
    The filters of a client; topics that several of them match reach it once.

    Args:
        reach: What the client may see.
        frame: Makes octets of a publication.
        close: Ends the client's session.
    """

    __slots__ = (
        *("_close", "_delivered", "_dropped", "_filters", "_frame"),
        *("_reach", "_shared", "_sink", "_streams", "_token_id"),
    )

    def __init__(
        self, shared: Shared, reach: Scope, frame: Framing, *, sink: Sink, token_id: int, close: Close
    ) -> None:
        self._shared = shared
        self._reach = reach
        self._frame = frame
        self._sink = sink
        self._token_id = token_id
        self._close = close
        self._filters: dict[str, Pattern | None] = {}
        self._streams: dict[Form, Subscriber] = {}
        self._delivered = self._dropped = 0  # of subscribers that have ended

    @property
    def is_active(self) -> bool:
        """True if the client has a subscriber in the hub."""
        return bool(self._streams)

    @property
    def delivered(self) -> int:
        """Number of publications that were handed to the socket."""
        return self._delivered + sum(each.delivered for each in self._streams.values())

    @property
    def dropped(self) -> int:
        """Number of publications that were dropped because the client is slow."""
        return self._dropped + sum(each.dropped for each in self._streams.values())

    def add(self, filters: Sequence[str]) -> tuple[list[Reason], str]:
        """Subscribe; return a reason for each filter, and the first refusal as a text for people."""
        reasons: list[Reason] = []
        text = ""
        before = dict(self._filters)
        for each in filters:
            try:
                self._add(each)
            except PacketRefused as exc:
                reasons.append(exc.reason)
                text = text or exc.detail
            else:
                reasons.append(Reason.SUCCESS)
        try:
            self._apply()
        except Unavailable as exc:
            self._filters = before
            self._apply()
            return [each or Reason.QUOTA_EXCEEDED for each in reasons], exc.detail
        return reasons, text

    def remove(self, filters: Sequence[str]) -> list[Reason]:
        """Unsubscribe; return a reason for each filter."""
        reasons = [Reason.SUCCESS if each in self._filters else Reason.NO_SUBSCRIPTION_EXISTED for each in filters]
        for each in filters:
            self._filters.pop(each, None)
        self._apply()
        return reasons

    def close(self) -> None:
        """End all subscriptions."""
        for form in list(self._streams):
            self._leave(form)

    def _add(self, text: str) -> None:
        limit = self._shared.config.subscriptions
        if text not in self._filters and len(self._filters) >= limit:
            raise PacketRefused(Reason.QUOTA_EXCEEDED, f"the client has {limit} filters, as many as mqtt.subscriptions")
        self._filters[text] = pattern_of(text, self._reach, self._shared.directory)

    def _apply(self) -> None:
        """Bring the hub up to the filters."""
        hub = self._shared.hub
        for form in Form:
            patterns = {each for each in self._filters.values() if each is not None and each.form is form}
            subscriber = self._streams.get(form)
            if not patterns:
                self._leave(form)
                continue
            scopes, wish = request_of(patterns, self._reach, self._shared.facts)
            if subscriber is not None:
                hub.change(subscriber, wish, scopes)
                continue
            self._streams[form] = hub.subscribe(
                form.stream,
                scopes,
                wish,
                encoding(self._shared.publications[form], self._frame, tells_gaps=form is Form.ACTIVITY),
                sink=self._sink,
                token_id=self._token_id,
                close=self._close,
            )

    def _leave(self, form: Form) -> None:
        subscriber = self._streams.pop(form, None)
        if subscriber is not None:
            self._shared.hub.unsubscribe(subscriber)
            self._delivered += subscriber.delivered
            self._dropped += subscriber.dropped
