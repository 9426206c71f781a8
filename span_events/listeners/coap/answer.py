"""Answers: responses of the CoAP site, ready at once or later."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from span_events.registry.model import Downstream
from span_events.wire.coap.messages import Options


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. ``downstream`` is the queued message in its payload, ``cause`` the upstream message it answers."""

    code: int
    payload: bytes = b""
    options: Options = ()
    downstream: Downstream | None = None
    cause: int | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """A response that is not ready yet. If it takes longer than an ACK may, it becomes a separate response."""

    answer: Awaitable[Answer]
