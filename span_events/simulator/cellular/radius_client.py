"""
A RADIUS client (RFC 2865, 2866, 3579): sends requests to one port and retransmits each until it is answered.

It does not use the codec of the server, `wire.radius`: two independent implementations check each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from span_events.simulator.sockets import Address, DeviceSocket
from span_events.wire.radius.packets import Attribute, Code

Attributes = Sequence[tuple[int, bytes]]
"""Numbers and values, in order."""

AT_ONCE: Final = 128
"""Upper bound of open requests; an identifier is one octet."""

_HEADER: Final = struct.Struct("!BBH16s")
"""Code, Identifier, Length, Authenticator (RFC 2865 §3)."""
_NOTHING: Final = bytes(16)


@dataclass(frozen=True, slots=True)
class Patience:
    """Number of transmissions of a request, and the seconds between them."""

    timeout: float = 1.0
    tries: int = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of a server that has the secret."""

    code: int
    attributes: tuple[tuple[int, bytes], ...] = ()

    def value(self, number: int) -> bytes:
        """Return the first attribute with a number, empty without one."""
        return next((value for each, value in self.attributes if each == number), b"")


@dataclass(frozen=True, slots=True)
class _Waiting:
    authenticator: bytes
    answer: asyncio.Future[Answer]


class RadiusClient:
    """
    One socket to one port of a server.

    Args:
        target: Address of the server.
        secret: Shared secret.
        patience: Timing of retransmissions, which are unchanged copies.

    Raises:
        AddressUnavailable: The server is not reachable from this machine, or no socket is left.
    """

    def __init__(self, target: Address, secret: bytes, *, patience: Patience | None = None) -> None:
        self._secret = secret
        self._patience = patience or Patience()
        anywhere = "::" if ":" in target[0] else "0.0.0.0"  # noqa: S104  # connected to the server only
        self._socket = DeviceSocket(anywhere, target, self._received)
        self._waiting: dict[int, _Waiting] = {}
        self._free = asyncio.Semaphore(AT_ONCE)
        self._identifier = 0

    async def exchange(self, code: Code, attributes: Attributes) -> Answer | None:
        """
        Send a request, and retransmit it until it is answered. Cancelling drops the request.

        Returns:
            The answer; None if no answer proved that the server has the secret.
        """
        async with self._free:
            identifier = self._next_identifier()
            request = encode(code, identifier, attributes, self._secret)
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._waiting[identifier] = _Waiting(request[4:20], answer)
            try:
                for _ in range(self._patience.tries):
                    self._socket.send(request)
                    await asyncio.wait((answer,), timeout=self._patience.timeout)
                    if answer.done():
                        return answer.result()
                return None
            finally:
                del self._waiting[identifier]

    def close(self) -> None:
        """Close the socket; idempotent. Open requests stay unanswered."""
        self._socket.close()

    def _next_identifier(self) -> int:
        while self._identifier in self._waiting:
            self._identifier = (self._identifier + 1) % 256
        found, self._identifier = self._identifier, (self._identifier + 1) % 256
        return found

    def _received(self, datagram: bytes) -> None:
        waiting = self._waiting.get(datagram[1]) if len(datagram) >= _HEADER.size else None
        if waiting is None or waiting.answer.done():
            return
        answer = decode(datagram, waiting.authenticator, self._secret)
        if answer is not None:
            waiting.answer.set_result(answer)


def encode(code: Code, identifier: int, attributes: Attributes, secret: bytes) -> bytes:
    """Encode a request; an Access-Request is signed by Message-Authenticator, all others by Authenticator."""
    body = b"".join(bytes((number, len(value) + 2)) + value for number, value in attributes)
    if code is Code.ACCOUNTING_REQUEST:
        unsigned = _HEADER.pack(code, identifier, _HEADER.size + len(body), _NOTHING) + body
        return unsigned[:4] + _md5(unsigned + secret) + body  # RFC 2866 §3
    prefix = bytes((Attribute.MESSAGE_AUTHENTICATOR, 18))
    length = _HEADER.size + 18 + len(body)
    header = _HEADER.pack(code, identifier, length, secrets.token_bytes(16)) + prefix
    return header + hmac.digest(secret, header + _NOTHING + body, "md5") + body  # RFC 3579 §3.2


def decode(datagram: bytes, authenticator: bytes, secret: bytes) -> Answer | None:
    """Decode the answer to the request with an Authenticator; None if its sender does not have the secret."""
    code, _, length, proof = _HEADER.unpack_from(datagram)
    body = datagram[_HEADER.size : length]
    if not hmac.compare_digest(_md5(datagram[:4] + authenticator + body + secret), proof):
        return None
    attributes: list[tuple[int, bytes]] = []
    at = 0
    while at + 2 <= len(body) and 2 <= body[at + 1] <= len(body) - at:
        value = body[at + 2 : at + body[at + 1]]
        if body[at] == Attribute.MESSAGE_AUTHENTICATOR:
            unsigned = datagram[:4] + authenticator + body[: at + 2] + _NOTHING + body[at + 18 :]
            if not hmac.compare_digest(hmac.digest(secret, unsigned, "md5"), value):
                return None
        attributes.append((body[at], value))
        at += body[at + 1]
    proven = code == Code.ACCOUNTING_RESPONSE or any(each == Attribute.MESSAGE_AUTHENTICATOR for each, _ in attributes)
    # Without Message-Authenticator, an attacker can turn an Access-Reject into an Access-Accept (CVE-2024-3596).
    return Answer(code, tuple(attributes)) if proven else None


def _md5(octets: bytes) -> bytes:
    return hashlib.md5(octets, usedforsecurity=False).digest()  # the protocol requires MD5
