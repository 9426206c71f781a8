"""Ports: where this server serves each protocol, for clients that came to the wrong port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from span_events.events.marks import Mark
from span_events.wire.recognition import ProtocolName, recognise

_PLACES: Final = {
    ProtocolName.COAP: (("CoAP has port", "coap"), ("CoAPS", "coaps")),
    ProtocolName.DTLS: (("CoAPS has port", "coaps"), ("DTLS datagrams", "dtls")),
    ProtocolName.TLS: (("HTTPS has TCP port", "blobs_tls"), ("gateways", "gateways")),
    ProtocolName.HTTP: (("HTTP has TCP port", "blobs"), ("HTTPS", "blobs_tls"), ("the API", "http")),
}
"""Words and listener of each place of a protocol; the first is the one that a device most probably meant."""
_INSTEAD: Final = (("a datagram to port", "datagrams"), ("a CoAP POST to port", "coap"))
"""The places for the messages of a protocol that is not served."""


class Ports:
    """The bound ports by listener; empty until `fill`."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}

    def fill(self, addresses: Mapping[str, str], *, dtls: bool) -> None:
        """
        Take over the bound addresses.

        Args:
            addresses: Listener to ``host:port``.
            dtls: Whether the port of datagrams serves DTLS, too.
        """
        self._ports = {name: int(address.rpartition(":")[2]) for name, address in addresses.items()}
        if dtls and "datagrams" in self._ports:
            self._ports["dtls"] = self._ports["datagrams"]

    def mark(self, octets: bytes, *, served: ProtocolName | None = None, secure: bool = False) -> Mark | None:
        """
        Return the mark of octets that look like a protocol of another port; None for all others.

        Args:
            served: The protocol of the port that they came to.
            secure: Whether they came over DTLS: then CoAP belongs to the port of CoAPS.
        """
        found = recognise(octets) if self._ports else None
        if found is None or found.protocol is served:
            return None
        places = _PLACES.get(found.protocol, ())
        expected = [self._ports[name] for _, name in places if name in self._ports]
        advice = self._list(places) or f"{found.protocol} is not served here; send {self._list(_INSTEAD, ' or ')}"
        port = self._ports.get("coaps") if secure and found.protocol is ProtocolName.COAP else None
        return Mark(
            f"looks like {found.protocol} ({found.words}): {advice}",
            found.protocol.value,
            port or (expected[0] if expected else None),
        )

    def _list(self, places: tuple[tuple[str, str], ...], glue: str = ", ") -> str:
        return glue.join(f"{words} {self._ports[name]}" for words, name in places if name in self._ports)
