"""Peer: the sender of one message, and the place of its answer."""

from __future__ import annotations

from collections.abc import Hashable

from span_events.fleet.devices.sessions import Session
from span_events.listeners.coap.exchanges import Exchange
from span_events.net import Remote
from span_events.registry.model import Device
from span_events.wire.coap.messages import CoapMessage
from span_events.wire.coap.requests import Reading, read_options


class Peer:
    """
    The sender of one request.

    Its address is any hashable: a socket address, or a DTLS session, whose messages must never be mixed with those of
    another session from the same socket address (RFC 7252 §9.1.2).
    """

    __slots__ = ("address", "device", "exchange", "options", "remote", "request", "session")

    def __init__(
        self,
        address: Hashable,
        remote: Remote,
        device: Device,
        request: CoapMessage,
        exchange: Exchange | None,
        session: Session | None = None,
        options: Reading | None = None,
    ) -> None:
        self.address = address
        self.remote = remote
        self.device = device
        self.request = request
        self.exchange = exchange
        """Memory of the reply; None for a request that may be served twice."""
        self.options = options or read_options(request)
        """The options of the request, read."""
        self.session = session
        """The DTLS session; None without DTLS."""
