"""Interface of the services at reserved paths: firmware, blobs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

from span_events.events.message import Transport
from span_events.listeners.coap.answer import Answer, Later
from span_events.listeners.coap.peer import Peer
from span_events.net import Remote
from span_events.wire.coap.messages import CoapMessage


class CoapService(Protocol):
    """A service that answers all requests to some paths of one endpoint."""

    @property
    def paths(self) -> frozenset[str]:
        """Paths of the service (``/fw``)."""

    def is_repeatable(self, request: CoapMessage, path: str) -> bool:
        """
        Return whether a copy of a request may be served like a new request (RFC 7252 §4.5).

        Then neither the request nor its reply is remembered: the thousands of blocks of a transfer would evict the
        requests that must not be served twice.
        """

    def answer(self, peer: Peer, path: str) -> Answer | Later:
        """Answer a request."""

    def forget_peer(self, address: Hashable) -> None:
        """Drop the state of an address that will never send again."""


MakeService = Callable[[Transport, Remote], CoapService]
"""Creates the service of an endpoint from its transport and its bound address."""
