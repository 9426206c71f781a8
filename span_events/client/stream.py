"""
An activity stream that survives lost connections: it reconnects, resumes, and reports both.

With ``extended`` the stream resumes exactly behind the last id. Plain lines carry no id: then the client requests all
events from the second of the last line on, and skips the lines of that second that it already had. Before the first
event, the server's clock (the Date header of its first reply) gives the start.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from span_events.client.api import USER_AGENT, Client, refusal, unreachable
from span_events.errors import LimitReached, RequestError, ServerUnreachable, Unauthenticated, UpgradeRequired

FIRST_DELAY: Final = 0.5
LAST_DELAY: Final = 15.0
"""Seconds between attempts: doubling from the first to the last, each shortened by up to a half at random."""
LIVE: Final = "live"
NOT_EVENTS: Final = frozenset(("keepalive", LIVE))
"""``type`` of the objects that a stream has besides events."""
DROPPED: Final = "eventsDropped"

_REVOKED: Final = 1008
_WORDS: Final = {
    1000: "the server ended the stream",
    1001: "the server is shutting down",
    1006: "the connection broke without a word",
    1011: "the server had an internal error",
    1012: "the server is restarting",
    1013: "the server asks to try again later",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One event: the octets as the server sent them, with their newline, and the parsed object."""

    octets: bytes
    document: dict[str, Any]


class Stream:
    """
    Events from one URL of the API.

    Args:
        client: Client of the API, with address and token.
        path: Path of the stream (``/span/activity``).
        query: Parameters, without ``tail`` and ``after``.
        last: Number of past events at the beginning.
        reconnect: True to reopen a lost connection.
        notify: Called with a sentence for people when a connection is lost, and when it is restored.
        pauses: Seconds between attempts to connect; starts over after each received event.
        marks_live: True to yield the objects that mark the end of replayed history, too: one per connection of
            an extended stream.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        query: Sequence[tuple[str, str]],
        *,
        last: int = 0,
        reconnect: bool = True,
        notify: Callable[[str], None],
        pauses: Callable[[], Iterator[float]] | None = None,
        marks_live: bool = False,
    ) -> None:
        self._marks_live = marks_live
        self._pauses = pauses or backoff
        self._client = client
        self._url = f"ws{client.base.removeprefix('http')}{path}"
        self._query = list(query)
        self._last = last
        self._reconnect = reconnect
        self._notify = notify
        self._position = _Position()

    async def lines(self) -> AsyncGenerator[Line, None]:
        """
        Yield events until cancelled. Cancelling closes the connection.

        Raises:
            RequestError: The server refuses the stream, for good.
            ServerUnreachable: No server answers, or the connection is lost and `reconnect` is False.
        """
        pauses, lost_at = self._pauses(), None
        while True:
            try:
                async with self._connect(again=lost_at is not None) as connection:
                    if lost_at is not None:
                        self._notify(f"connected again after {monotonic() - lost_at:.1f} s")
                        lost_at = None
                    self._position.connected(connection)
                    while True:
                        octets = await connection.recv(decode=False)
                        pauses = self._pauses()
                        line = _parse(octets)
                        if line is None:
                            self._notify(f"skipped a frame that is no JSON object: {octets[:60]!r}")
                        elif self._wants(line):
                            yield line
            except ConnectionClosed as exc:
                why = _closed(exc)
                if not self._reconnect:
                    raise _ended(why) from exc
                lost_at = monotonic()
                self._notify(f"connection lost: {why}; trying again until it is back (Ctrl-C stops)")
            except InvalidStatus as exc:
                refused = refusal(exc.response.status_code, bytes(exc.response.body), has_token=self._client.has_token)
                if exc.response.status_code == UpgradeRequired.status:
                    refused.hint = _PROXY
                if lost_at is None or _final(exc.response.status_code):
                    raise refused from exc
            except (OSError, TimeoutError, InvalidHandshake) as exc:
                if lost_at is None:
                    raise _no_stream(self._client.base, exc) from exc
            _end_if_cancelled()
            await asyncio.sleep(next(pauses))

    def _wants(self, line: Line) -> bool:
        kind = line.document.get("type")
        if kind == LIVE:
            return self._marks_live
        return kind not in NOT_EVENTS and self._position.advance(line)

    def _connect(self, *, again: bool) -> connect:
        begin = [("tail", str(self._last))] if self._last else []
        query = self._query + ((self._position.query() if again else []) or begin)
        return connect(
            self._url + (f"?{urlencode(query)}" if query else ""),
            additional_headers=self._client.headers,
            user_agent_header=USER_AGENT,
            compression=None,
            proxy=None,
            open_timeout=10,
            close_timeout=1,
        )


class _Position:
    """The position in a stream, and the lines to skip when it is read again from there."""

    def __init__(self) -> None:
        self._id = ""
        self._second = ""
        self._had: Counter[bytes] = Counter()
        """Lines of that second."""
        self._again: Counter[bytes] = Counter()
        """The lines among these that the server repeats."""

    def connected(self, connection: ClientConnection) -> None:
        """Take note of a new connection."""
        self._again = Counter() if self._id else self._had.copy()
        date = connection.response.headers.get("Date") if connection.response else None
        if not self._second and date:
            self._second = parsedate_to_datetime(date).strftime("%Y-%m-%d %H:%M:%S")

    def query(self) -> list[tuple[str, str]]:
        """Return the query parameters that request the events after this position."""
        after = self._id or (f"{self._second.replace(' ', 'T')}Z" if self._second else "")
        return [("after", after)] if after else []

    def advance(self, line: Line) -> bool:
        """Move behind a line; False if it was there before."""
        if line.document.get("event") == DROPPED:
            return (
                True  # eventsDropped is for this subscriber only: it stands for events, and is no event of the stream
            )
        self._id = str(line.document.get("id") or "")
        if self._id:
            return True
        second = str(line.document.get("time") or "")
        if second > self._second:
            self._second = second
            self._had.clear()
            self._again.clear()
        elif self._again[line.octets]:
            self._again[line.octets] -= 1
            return False
        self._had[line.octets] += 1
        return True


_PROXY: Final = (
    "A proxy between here and the server did not pass on the headers Upgrade and Connection;"
    " `span-events guide proxies` says how to configure it."
)


def _end_if_cancelled() -> None:
    """Go on with a cancellation in whose place a library raised the end of the connection, or Ctrl-C would be lost."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def backoff() -> Iterator[float]:
    """Yield the pauses between attempts, without end."""
    delay = FIRST_DELAY
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311  # spreads the clients, hides nothing
        delay = min(delay * 2, LAST_DELAY)


def _parse(octets: bytes) -> Line | None:
    try:
        document = orjson.loads(octets)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    return Line(octets if octets.endswith(b"\n") else octets + b"\n", document)


def _closed(exc: ConnectionClosed) -> str:
    """Return the reason of a closed connection; raise if it is final."""
    code, reason = (exc.rcvd.code, exc.rcvd.reason) if exc.rcvd else (1006, "")
    if code == _REVOKED:
        raise Unauthenticated(
            f"The server ended the stream: {reason or 'the token is not valid any more'}",
            hint="The token was revoked or expired: `span-events token create` makes another one.",
        ) from exc
    words = _WORDS.get(code, "the server closed the connection")
    return f"{words} ({code}{f': {reason}' if reason else ''})"


def _final(status: int) -> bool:
    return 400 <= status < 500 and status != LimitReached.status


def _ended(why: str) -> RequestError | ServerUnreachable:
    error = ServerUnreachable(f"The stream ended: {why}")
    error.hint = "Without --no-reconnect, tail connects again and goes on where it was."
    return error


def _no_stream(base: str, cause: BaseException) -> ServerUnreachable:
    if isinstance(cause, TimeoutError):
        return ServerUnreachable(f"{base} did not answer within 10 s")
    if isinstance(cause, InvalidHandshake) and not isinstance(cause, ssl.SSLError):
        error = ServerUnreachable(f"{base} does not open a WebSocket: {cause}")
        error.hint = "Is --endpoint a span-events server? http:// and https:// must not be confused, either."
        return error
    return unreachable(base, cause)
