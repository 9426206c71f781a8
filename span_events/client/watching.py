"""Watching: typed events as they happen, and waiting for those that a test expects."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from span_events.client.api import Client
from span_events.client.stream import DROPPED, LIVE, Line, Stream
from span_events.errors import InvalidRequest
from span_events.events.filters import parse_filter

ENDPOINT: Final = "http://127.0.0.1:8080"
"""Default address of the server."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    name: str
    time: datetime
    """When it happened, with milliseconds and time zone."""
    severity: str
    """``error``, ``warning``, ``info`` or ``debug``."""
    hint: str
    """The next thing to try."""
    collection_id: str = ""
    """Empty if nothing is known, as for an unknown address; likewise below."""
    device_id: str = ""
    gateway_id: str = ""
    session_id: str = ""
    id: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The whole object as the server sent it."""

    @property
    def reason(self) -> str:
        """The reason of a fault, or the state of firmware; empty for none."""
        return self.data.get("reason") or self.data.get("state") or ""


@dataclass(frozen=True, slots=True)
class Missed(Event):
    """A gap: events that the server could not keep for this client. Its name is ``eventsDropped``."""


async def watch(
    *,
    endpoint: str = "",
    token: str = "",
    collection: str = "",
    device: str = "",
    gateway: str = "",
    events: Sequence[str] = (),
    severity: str = "",
    last: int = 0,
    notify: Callable[[str], None] = lambda sentence: None,
    on_live: Callable[[], None] = lambda: None,
) -> AsyncIterator[Event]:
    """
    Yield events until the caller stops; a lost connection is reopened and resumed where it was.

    Args:
        endpoint: URL of the server; empty is ``SPAN_API_ENDPOINT``, else port 8080 of this host.
        token: API token; empty is ``SPAN_API_TOKEN``.
        collection: Id of a collection; empty is all that the token may read.
        device: Id of a device; likewise ``gateway``.
        events: Names, or ``/regex/``; with ``!`` before it, the name is excluded.
        severity: Least severity.
        last: Number of past events at the beginning.
        notify: Called with a sentence when the connection is lost, and when it is restored.
        on_live: Called when the stream is open and past events have been yielded.

    Raises:
        RequestError: The server refuses the stream, for good.
        ServerUnreachable: No server answers the first request.
    """
    path = "/span/activity" if not collection else f"/span/collections/{collection}/activity"
    query = [("extended", "1"), *(("event", each) for each in events)]
    query += [(name, value) for name, value in (("device", device), ("gateway", gateway)) if value]
    if severity:
        query.append(("severity", severity))
    client = Client(
        endpoint or os.environ.get("SPAN_API_ENDPOINT", ENDPOINT), token or os.environ.get("SPAN_API_TOKEN", "")
    )
    stream = Stream(client, path, query, last=last, notify=notify, marks_live=True)
    async with client, aclosing(stream.lines()) as lines:
        async for line in lines:
            if line.document.get("type") == LIVE:
                on_live()
            else:
                yield _event(line)


class NotSeen(AssertionError):
    """
    An expected event did not come in time, or one came that must not.

    Args:
        missing: Name of the event that was awaited; empty if an event came that must not.
        came: The events that came instead, oldest first.
    """

    def __init__(self, text: str, missing: str, came: Sequence[Event]) -> None:
        super().__init__(text)
        self.missing = missing
        self.came = tuple(came)

    def __str__(self) -> str:
        """Return the fault, and below it the events that came, with their hints."""
        return "\n".join([str(self.args[0]), *_told(self.came)])


async def expect(
    *names: str,
    within: float = 60.0,
    reason: str = "",
    never: str | Iterable[str] = (),
    began: Callable[[], None] = lambda: None,
    **where: Any,
) -> list[Event]:
    """
    Wait for events in this order, others between them allowed; return them.

    Args:
        names: Names of the events.
        within: Seconds for all of them together, from the moment when the stream is open.
        reason: Reason that the last of them must have.
        never: Names of events that must not come meanwhile, or one.
        began: Called when the stream is open: what the test causes from then on is seen.
        where: Arguments of `watch`: endpoint, token, collection, device, gateway, last.

    Raises:
        NotSeen: An event is missing, or one came that must not.
        InvalidRequest: There is no event of a name.
        RequestError: The server refuses the stream.
        ServerUnreachable: No server answers.
    """
    wanted, forbidden = list(names), frozenset([never] if isinstance(never, str) else never)
    for name in (*wanted, *forbidden):  # a misspelt one would never come, and a test that forbids it always pass
        if parse_filter(events=[name]).names != frozenset({name}):
            raise InvalidRequest(f"{name!r} is not the name of one event", hint="`span-events events` lists them.")
    found: list[Event] = []
    came: list[Event] = []
    opened = asyncio.Event()

    def on_live() -> None:
        if not opened.is_set():
            opened.set()
            began()

    async def follow() -> None:
        async with aclosing(watch(on_live=on_live, **where)) as events:  # type: ignore[type-var]  # an async generator
            async for event in events:
                came.append(event)
                if event.name in forbidden:
                    raise NotSeen(f"{event.name} came, which must not", "", came)
                last = len(found) == len(wanted) - 1
                if event.name == wanted[len(found)] and (not last or not reason or event.reason == reason):
                    found.append(event)
                    if len(found) == len(wanted):
                        return

    if not wanted:
        raise ValueError("name at least one event to expect")
    task = asyncio.ensure_future(follow())
    waiting = asyncio.ensure_future(opened.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=within)
        if task.done():
            await task
            return found
    finally:
        waiting.cancel()
        task.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
    missing = wanted[len(found)]
    with_reason = f" with reason {reason}" if reason and len(found) == len(wanted) - 1 else ""
    raise NotSeen(f"{missing}{with_reason} did not come within {within:g} s", missing, came)


def _told(events: Sequence[Event]) -> list[str]:
    if not events:
        return ["No event came at all."]
    lines = ["What came instead:"]
    for event in events:
        data = " ".join(f"{key}={value}" for key, value in event.data.items())
        lines.append(f"  {event.time.astimezone():%H:%M:%S} {event.severity} {event.name} {data}".rstrip())
        if event.severity in ("warning", "error"):
            lines.append(f"    → {event.hint}")
    return lines


def _event(line: Line) -> Event:
    document = line.document
    kind = Missed if document.get("event") == DROPPED else Event
    return kind(
        name=document["event"],
        time=datetime.fromisoformat(document["timestamp"]),
        severity=document["severity"],
        hint=document["hint"],
        collection_id=document.get("collectionId", ""),
        device_id=document.get("deviceId", ""),
        gateway_id=document.get("gatewayId", ""),
        session_id=document.get("sessionId", ""),
        id=document["id"],
        data=document.get("data", {}),
        document=document,
    )
