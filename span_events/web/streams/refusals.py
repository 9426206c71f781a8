"""Refused streams: counted by reason, and logged once a minute for each client, since browsers hide the reply."""

from __future__ import annotations

from collections import Counter
from typing import Final

from aiohttp import web

from span_events.bounded.quiet import OncePerMinute
from span_events.clock import Clock
from span_events.errors import RequestError, Unauthenticated
from span_events.log import get_logger
from span_events.metrics import Metric

log = get_logger("streams")

_SOURCES: Final = 1_000
"""Clients that get a log line of their own in a minute."""


class Refusals:
    """The refusals of all streams."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts = Counter[str]()
        self._quiet = OncePerMinute(_SOURCES)

    def count(self, request: web.Request, error: RequestError, remote: str | None) -> None:
        """Count a refusal."""
        self._counts[error.code] += 1
        count = self._quiet.admits((error.code, remote), self._clock.monotonic())
        if not count:
            return
        # the sentence of a 401 may quote a header in which the client has put its token
        why = "no valid token" if isinstance(error, Unauthenticated) else error.detail
        path = request.path[:200]
        log.warning(
            "stream_refused", reason=error.code, status=error.status, path=path, remote=remote, why=why, count=count
        )

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "streams_refused",
                "Streams that were refused before the upgrade.",
                "counter",
                lambda: dict(self._counts),
                label="reason",
            )
        ]
