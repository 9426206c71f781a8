"""Other nodes that share the registry: asked over the bus for what only they have in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import orjson

from span_events.bus.base import Bus, NoAnswer, NobodyServes
from span_events.errors import StorageUnavailable
from span_events.registry.registry import Registry

_WITHIN: Final = 2.0
"""Seconds for the answer of a node."""
_LIVES: Final = "lives"
"""The question that every node answers."""

Answer = Callable[[Any], bytes]
"""Answers a question of another node; called with the question's JSON value."""


class OtherNodes:
    """Asks the nodes that hold a lease in the registry, and answers them; a single node has nobody to ask."""

    def __init__(self, *, bus: Bus, registry: Registry) -> None:
        self._bus = bus
        self._registry = registry
        self._answers: dict[str, Answer] = {_LIVES: lambda _: b""}

    def answer(self, kind: str, answer: Answer) -> None:
        """Let a function answer the questions of a kind."""
        self._answers[kind] = answer

    def serve(self) -> None:
        """Answer the other nodes from now on."""
        self._bus.serve(_subject(self._registry.store.node), self._handle)

    async def ask(self, kind: str, question: Any) -> list[bytes]:
        """Return the answers of the other nodes; a node that does not answer within 2 s is left out."""
        if not self._registry.is_shared:
            return []
        try:
            others = await self._registry.store.number.others()
        except StorageUnavailable:  # then this node knows its own values only
            return []
        data = orjson.dumps((kind, question))
        answers = await asyncio.gather(*(self._ask(each, data) for each in others))
        return [each for each in answers if each]

    async def lives(self, node: str) -> bool:
        """Return whether a node answers; one that has lost PostgreSQL, and its lease with it, does."""
        return bool(node) and await self._ask(node, orjson.dumps((_LIVES, None))) is not None

    async def _ask(self, node: str, data: bytes) -> bytes | None:
        try:
            return await self._bus.ask(_subject(node), data, _WITHIN)
        except (NoAnswer, NobodyServes):
            return None

    async def _handle(self, data: bytes) -> bytes:
        """Answer a question; one that only a newer release knows gets an empty answer."""
        kind, question = orjson.loads(data)
        answer = self._answers.get(kind)
        return b"" if answer is None else answer(question)


def _subject(node: str) -> str:
    return f"node.{node}"
