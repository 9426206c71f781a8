"""What the CoAP site says to a request."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from span_events.registry.model import Downstream
from span_events.wire.coap.messages import Options


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; ``downstream`` is the waiting message that it takes along, ``cause`` the message it answers."""

    code: int
    payload: bytes = b""
    options: Options = ()
    downstream: Downstream | None = None
    cause: int | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """A response that something has to be waited for; it comes on its own if that takes longer than an ACK may."""

    answer: Awaitable[Answer]
