"""
The two methods of The Things Stack's API, whatever carries them: who may see which events, and which are past.

The resource of our token decides about rights: a token that reaches an entity has every right on it.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never

from span_events import ids
from span_events.auth import access
from span_events.auth.tokens import Tokens
from span_events.bounded.quiet import OncePerMinute
from span_events.clock import Clock
from span_events.config import StreamsConfig
from span_events.dialects.things_stack import names
from span_events.dialects.things_stack.errors import (
    CLOSING,
    EXPIRED_TOKEN,
    INVALID_TOKEN,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED_CALL,
    UNKNOWN_TOKEN,
    UNSUPPORTED_AUTHORIZATION,
    ErrorDetails,
    StatusError,
    no_rights,
    not_found,
)
from span_events.dialects.things_stack.event import correlation_ids, entities_of
from span_events.dialects.things_stack.requests import Entity, StreamRequest
from span_events.dialects.things_stack.rules import rule_of
from span_events.dialects.things_stack.wish import EntityFilter
from span_events.errors import InvalidRequest, RequestError
from span_events.events.activity import Activity, Origin, SpanId
from span_events.events.catalogue import EventsDropped
from span_events.events.filters import Scope
from span_events.events.history import History
from span_events.events.reasons import DroppedReason
from span_events.fanout.hub import Hub, origin_of
from span_events.fanout.subscriber import Encoding, Ending, Stream
from span_events.ids import IdGenerator
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.registry.directory import Directory
from span_events.registry.model import Token
from span_events.web.streams.admission import Admission

log = get_logger("things_stack")

_SOURCES: Final = 1_000
"""Clients that get a log line of their own in a minute."""
MOST_RELATED: Final = 100
"""Upper bound of the events in one reply about a correlation id; the newest stay."""
_ENTITIES_OF_ANOTHER: Final = 50
"""Entities of a subscription as which another stream counts."""
_OURS: Final = re.compile(r"[0-9a-f]{64}")
_THEIRS: Final = re.compile(r"(?:NNSXS|MFRWG|ONZW4|OJSWM|MF2XI)\.[A-Z2-7]+\.[A-Z2-7.]*")


@dataclass(frozen=True, slots=True)
class Subscription:
    """A stream request that its token permits."""

    request: StreamRequest
    wish: EntityFilter
    names: list[str] | None
    """The resolved filter, if the request has one."""
    token: Token
    warning: str = ""

    @property
    def weight(self) -> int:
        """The number of streams as which it counts: so many entities take as much memory as another stream."""
        return 1 + len(self.request.entities) // _ENTITIES_OF_ANOTHER


@dataclass(frozen=True, slots=True)
class Related:
    """An event with a correlation id; redacted if the caller may not see it."""

    activity: Activity
    redacted: bool


class EventsService:
    """
    The methods Stream and FindRelated.

    Args:
        host: Name of this host, the origin of all events.
    """

    def __init__(
        self,
        *,
        streams: StreamsConfig,
        hub: Hub,
        history: History,
        directory: Directory,
        tokens: Tokens,
        clock: Clock,
        identifiers: IdGenerator,
        admission: Admission,
        host: str,
    ) -> None:
        self.hub = hub
        self.admission = admission
        self.clock = clock
        self.host = host
        self._max_tail = streams.max_tail
        self._history = history
        self._directory = directory
        self._tokens = tokens
        self._identifiers = identifiers
        self._refused = Counter[str]()
        self._quiet = OncePerMinute(_SOURCES)

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "things_stack_refused",
                "Requests of The Things Stack's clients that were refused.",
                "counter",
                lambda: dict(self._refused),
                label="reason",
            )
        ]

    def refused(self, error: ErrorDetails, remote: str | None, path: str) -> None:
        """Count a refusal, and log it once a minute for each client: some of its clients hide the reply."""
        self._refused[error.name] += 1
        if count := self._quiet.admits((error.name, remote), self.clock.monotonic()):
            why = error.message[:200]
            log.warning("things_stack_refused", reason=error.name, path=path, remote=remote, why=why, count=count)

    def number(self) -> int:
        """Return a new identifier: of a request, or of an event about a stream."""
        return self._identifiers.next(self.clock.time_ns())

    # ---- rights -------------------------------------------------------------------------------

    async def authenticate(self, authorization: str | None) -> Token:
        """
        Find the token of a call.

        Args:
            authorization: The header ``Authorization``: ``Bearer TOKEN``, in any case.

        Raises:
            StatusError: There is no token, or it is malformed, unknown or expired.
        """
        scheme, _, text = (authorization or "").strip().partition(" ")
        text = text.strip()
        if not scheme:
            raise StatusError(UNAUTHENTICATED_CALL)
        if scheme.lower() != "bearer":
            raise StatusError(UNSUPPORTED_AUTHORIZATION)
        token = await self._tokens.find(text)
        if token is not None:
            return token
        if self._tokens.has_expired(text):
            raise StatusError(EXPIRED_TOKEN)
        raise StatusError(UNKNOWN_TOKEN if looks_like_token(text) else INVALID_TOKEN)

    async def permit(self, request: StreamRequest, token: Token) -> Subscription:
        """
        Resolve a request: first its names, then the rights on every entity; the past of these is in the history then.

        Other tasks run between two expressions, since one may take milliseconds.

        Raises:
            StatusError: A name or expression has no hit, an entity does not exist, or the token does not reach it.
        """
        resolved: set[str] | None = set() if request.names else None
        for pattern in request.names:
            assert resolved is not None
            resolved |= names.resolve(pattern)
            if names.is_expression(pattern):
                await asyncio.sleep(0)
        found: dict[str, set[tuple[int, int]]] = {"application": set(), "device": set(), "gateway": set()}
        for entity in request.entities:
            if (key := self._reach(entity, token)) is not None:
                found[entity.kind].add(key)
        wish = EntityFilter(
            frozenset(collection for collection, _ in found["application"]),
            frozenset(found["device"]),
            frozenset(found["gateway"]),
            None if resolved is None else frozenset(resolved),
        )
        await self.hub.caught_up(Stream.ACTIVITIES, wish.scopes)
        warning = f"The tail is limited to {self._max_tail} events" if request.tail > self._max_tail else ""
        return Subscription(request, wish, None if resolved is None else sorted(resolved), token, warning)

    def _reach(self, entity: Entity, token: Token) -> tuple[int, int] | None:
        """Return the collection and the entity; None for a device that does not exist (yet)."""
        if entity.kind == "gateway":
            gateway = self._directory.gateways.get(_number(entity.id))
            if gateway is None:
                raise _absent(token, "gateway", entity.id)
            if not access.reaches(token, access.resource_of(gateway.collection.id, gateway_id=gateway.id)):
                raise no_rights("gateway", entity.id)
            return gateway.collection.id, gateway.id
        if entity.kind not in ("application", "device"):
            raise _absent(token, entity.kind, entity.id)
        application = entity.application or entity.id
        collection = self._directory.collections.get(_number(application))
        if collection is None:
            raise _absent(token, "application", application)
        device = _number(entity.id) if entity.kind == "device" else None
        if not access.reaches(token, access.resource_of(collection.id, device_id=device)):
            raise no_rights("application", application)
        if device is None:
            return collection.id, 0
        return (collection.id, device) if device else None

    # ---- the past -----------------------------------------------------------------------------

    def past(self, subscription: Subscription, encoding: Encoding) -> Iterator[bytes]:
        """
        Yield the frames of past events: at most ``tail`` of each entity, later than ``after``, in their order.

        If memory does not reach back to ``after``, the first frame reports the gap.
        """
        request, wish = subscription.request, subscription.wish
        if not request.tail and request.after_ns is None:
            return
        since = 0 if request.after_ns is None else ids.first_at(request.after_ns // 1_000_000 + 1) - 1
        found: list[Activity] = []
        lost = 0
        for collection in sorted({each.collection_id or 0 for each in wish.scopes}):
            replay = self._history.after(Scope(collection), wish, since)
            found += replay.activities
            lost = max(lost, replay.lost_through or 0)
        found.sort(key=lambda each: each.id)
        if request.tail:
            found = _newest(found, wish, min(request.tail, self._max_tail))
        if lost and request.after_ns is not None and not len(found) >= request.tail > 0:
            yield encoding.encode(self.hub.stamp(_gap(wish, lost)))
        for each in found:
            yield encoding.encode(each)

    async def related(self, correlation_id: str, token: Token) -> list[Related]:
        """
        Return the events in memory that have a correlation id, oldest first.

        A caller who may see one of them sees that the others happened, without their content; one who may see none
        gets nothing, since identifiers can be guessed.
        """
        try:
            identifier = ids.from_ulid(correlation_id.rpartition(":")[2])
        except InvalidRequest:
            return []
        await self.hub.caught_up(Stream.ACTIVITIES, (access.scope_of(token),))
        found = [
            Related(each, redacted=not self._sees(token, each))
            for each in self._history.related(identifier)
            if correlation_id in correlation_ids(each)
        ][-MOST_RELATED:]
        return [] if all(each.redacted for each in found) else found

    def _sees(self, token: Token, activity: Activity) -> bool:
        event = activity.event
        entities = entities_of(event, rule_of(event))
        if not entities:
            return token.resource == "/"
        return any(access.reaches(token, _resource_of(each)) for each in entities)


def looks_like_token(text: str) -> bool:
    """Return whether a text has the form of one of our tokens, or of the original's."""
    return bool(_OURS.fullmatch(text) or _THEIRS.fullmatch(text))


def of_refusal(error: RequestError) -> StatusError:
    """Return one of our own refusals as an error of this API."""
    values = {"detail": error.detail, "hint": error.hint}
    return StatusError(ErrorDetails("span", error.code, "{detail}. {hint}", error.rpc_code, values))


def ending_of(ending: Ending, text: str) -> ErrorDetails:
    """Return the error with which the server ends a stream."""
    match ending:
        case Ending.REVOKED:
            return replace(UNKNOWN_TOKEN, attributes={"reason": text})
        case Ending.SHUTDOWN:
            return CLOSING
        case Ending.BEHIND:
            return ErrorDetails("span", "stream_ended", "{detail}", RESOURCE_EXHAUSTED, {"detail": text})
        case _:
            assert_never(ending)


def _newest(activities: Sequence[Activity], wish: EntityFilter, count: int) -> list[Activity]:
    """Keep the activities that are among the newest of one of the entities."""
    seen: Counter[Origin] = Counter()
    kept = []
    for each in reversed(activities):
        hits = wish.hits(each.event)
        if any(seen[hit] < count for hit in hits):
            kept.append(each)
        seen.update(hits)
    return kept[::-1]


def _gap(wish: EntityFilter, lost_through: int) -> EventsDropped:
    return EventsDropped(origin=origin_of(wish.scopes), reason=DroppedReason.HISTORY_GAP, last_id=SpanId(lost_through))


def _absent(token: Token, kind: str, identifier: str) -> StatusError:
    """Return the refusal of an entity that does not exist; only a token for everything may learn that."""
    return not_found(kind, identifier) if token.resource == "/" else no_rights(kind, identifier)


def _number(text: str) -> int:
    """Return the number of an id; 0, which nothing has, if it is none of ours."""
    try:
        return ids.parse(text)
    except InvalidRequest:
        return 0


def _resource_of(entity: Origin) -> str:
    return access.resource_of(entity.collection_id, device_id=entity.device_id, gateway_id=entity.gateway_id)
