"""
Hellos that come in fragments (RFC 6347 §4.2.3).

A hello in several fragments of one datagram needs no memory. Of several datagrams, the first fragment has the cookie:
without a valid one it is answered like a whole hello, so only a client that has proven its address is remembered.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from span_events.bounded.expiring import ExpiringMap
from span_events.errors import MalformedMessage
from span_events.listeners.dtls.handshakes import Hellos
from span_events.net import Remote
from span_events.wire.dtls.fragments import Assembly, fragments, in_one_record
from span_events.wire.dtls.hello import CLIENT_HELLO, ClientHello, read_beginning

_LARGEST: Final = 4_096
"""Octets of a hello in fragments at most."""
_PER_DATAGRAM: Final = 64
"""Fragments of one datagram at most; it has room for 2,500, which take 10 ms to read."""
_CLIENTS: Final = 500
"""Upper bound of clients with an incomplete hello; beyond it, the one that began first must begin anew."""
_LIFETIME: Final = 30.0
"""Seconds in which all fragments must come."""


class FragmentedHellos:
    """The incomplete hellos of one socket."""

    def __init__(self, hellos: Hellos) -> None:
        self._hellos = hellos
        self._incomplete: ExpiringMap[Remote, Assembly] = ExpiringMap(limit=_CLIENTS, lifetime=_LIFETIME)
        self.completed = 0
        """Hellos that were put together."""

    def take(self, datagram: bytes, remote: Remote, now: float) -> bytes | ClientHello | None:
        """
        Take a datagram with fragments of a hello.

        Args:
            now: Monotonic seconds.

        Returns:
            The datagram of the whole hello; or the beginning of one that needs a cookie; or None.

        Raises:
            MalformedMessage: The fragments contradict each other, or the first is too short, or the hello too long.
        """
        parts = [each for each in islice(fragments(datagram), _PER_DATAGRAM + 1) if each.kind == CLIENT_HELLO]
        if len(parts) > _PER_DATAGRAM:
            raise MalformedMessage(f"over {_PER_DATAGRAM} fragments of a hello in one datagram", at=0)
        if not parts:
            raise MalformedMessage("the hello's fragment exceeds its record or its message", at=0)
        first = parts[0]
        if first.size > _LARGEST:
            raise MalformedMessage(f"a hello in fragments has at most {_LARGEST} octets, not {first.size}", at=0)
        assembly = Assembly(_LARGEST)
        begins = not first.offset
        if not begins:
            known = self._incomplete.get(remote, now)
            if known is None:
                return None  # the first fragment was lost, or had no cookie: the client will repeat all
            assembly = known
        for part in parts:
            body = assembly.add(part)
            if body is not None:
                self._incomplete.forget(remote)
                self.completed += 1
                return in_one_record(datagram, part, body)
        if begins:
            beginning = read_beginning(datagram)
            if not self._hellos.is_proven(beginning, remote, now):
                return beginning
            self._incomplete.put(remote, assembly, now)
        return None
