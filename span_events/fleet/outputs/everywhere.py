"""Health of outputs at all nodes: each node forwards what it publishes, so the counters of an output are a sum."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any, Final

import orjson

from span_events.fleet.others import OtherNodes
from span_events.fleet.outputs.health import LogEntry, OutputHealth, OutputsHealth
from span_events.registry.directory import Directory
from span_events.registry.outputs import Output

_KIND: Final = "outputs"
"""Kind of the questions to other nodes."""
_COUNTERS: Final = ("received", "forwarded", "bytes_forwarded", "errors", "retransmits", "dropped", "waiting")
_LOGGED: Final = 100
"""Newest entries of a log in an answer, which NATS limits to a megabyte."""


class HealthEverywhere:
    """Adds up the health of outputs, here and at the other nodes."""

    def __init__(self, health: OutputsHealth, others: OtherNodes, *, directory: Directory) -> None:
        self._health = health
        self._others = others
        self._directory = directory
        others.answer(_KIND, self._answer)

    async def total(self, outputs: Sequence[Output], *, logged: bool = False) -> OutputHealth:
        """
        Return the health of outputs together; they fail if one of them fails at one of the nodes.

        Args:
            logged: True for the entries of their logs, too.
        """
        total = OutputHealth(deque())
        for each in outputs:
            _add(total, _written(self._health.of(each), logged=logged))
        if outputs:
            question = {"ids": [each.id for each in outputs], "logged": logged}
            for answer in await self._others.ask(_KIND, question):
                _add(total, orjson.loads(answer))
        total.log = deque(sorted(total.log, key=lambda entry: entry.time_ms))
        return total

    def _answer(self, question: Any) -> bytes:
        total = OutputHealth(deque())
        for each in self._present(question["ids"]):
            _add(total, _written(self._health.of(each), logged=question["logged"]))
        return orjson.dumps(_written(total, logged=True))

    def _present(self, ids: Iterable[int]) -> list[Output]:
        found = map(self._directory.outputs.get, ids)
        return [each for each in found if each is not None]


def _written(health: OutputHealth, *, logged: bool) -> dict[str, Any]:
    return {
        "counters": {name: getattr(health, name) for name in _COUNTERS},
        "failing": health.failing_since is not None,
        "log": [astuple(each) for each in list(health.log)[-_LOGGED:]] if logged else [],
    }


def _add(total: OutputHealth, more: dict[str, Any]) -> None:
    for name in _COUNTERS:
        setattr(total, name, getattr(total, name) + more["counters"].get(name, 0))
    if more["failing"]:
        total.failing_since = 0.0
    total.log.extend(LogEntry(*each) for each in more["log"])
