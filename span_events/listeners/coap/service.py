"""The shape of what answers at a reserved path: firmware, blobs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

from span_events.events.message import Transport
from span_events.listeners.coap.answer import Answer, Later
from span_events.listeners.coap.peer import Peer
from span_events.net import Remote
from span_events.wire.coap.messages import CoapMessage


class CoapService(Protocol):
    """Answers the requests to some paths of one endpoint, of whatever method."""

    @property
    def paths(self) -> frozenset[str]:
        """What it serves (``/fw``)."""

    def is_repeatable(self, request: CoapMessage, path: str) -> bool:
        """
        Tell whether a copy of a request may be served like a new one (RFC 7252 §4.5).

        Then neither the request nor its reply is remembered: a transfer has thousands of blocks, and would push out
        of memory what must not be served twice. Such a request is answered at once, and with an `Answer`.
        """

    def answer(self, peer: Peer, path: str) -> Answer | Later:
        """Answer a request."""

    def forget_peer(self, address: Hashable) -> None:
        """Drop what is kept of an address that will never send again."""


MakeService = Callable[[Transport, Remote], CoapService]
"""Makes a service for an endpoint: how messages come, and what is bound."""
