"""
Targets: looks host names up, and refuses addresses that outputs must not reach.

A webhook's URL comes from a user of the API. Without this check it could reach services of the operator's own
network (server-side request forgery). A socket connects to the addresses that were checked, and never looks up the
name again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from span_events.events.reasons import OutputReason
from span_events.fleet.outputs.health import Failure
from span_events.outputs.base import DeliveryFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
SocketAddress = tuple[int, int, int, str, tuple[Any, ...]]
"""Result of `socket.getaddrinfo` for an address: family, type, protocol, canonical name, address."""

_THREADS: Final = 32
"""Look-ups at a time: a name server that hangs must not keep other names waiting."""
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses in IPv6 (RFC 6052 section 2.1)."""


class Targets:
    """
    Look-ups of targets, in threads of their own.

    Args:
        allow_private: Allow all addresses.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="output-names")

    def close(self) -> None:
        """Start no more look-ups."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def resolve(
        self, host: str, port: int, *, kind: int = socket.SOCK_STREAM, family: int = 0
    ) -> list[tuple[int, tuple[Any, ...]]]:
        """
        Look up a host; return the family and socket address of each of its addresses.

        Raises:
            DeliveryFailed: The host has no address, or one that outputs must not reach.
        """
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=kind)
            )
        except (OSError, UnicodeError) as exc:
            text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            raise DeliveryFailed(Failure(OutputReason.NOT_RESOLVED, f"{host}: {text}")) from exc
        addresses: list[tuple[int, tuple[Any, ...]]] = [(each[0], each[4]) for each in found]
        for _, address in addresses:
            self.check(host, str(address[0]))
        return addresses

    def check(self, host: str, address: str) -> None:
        """
        Check an address of a host.

        Raises:
            DeliveryFailed: Outputs must not reach it.
        """
        if not self._allow_private and not is_public(ipaddress.ip_address(address)):
            shown = address if host == address else f"{host}: {address}"
            raise DeliveryFailed(Failure(OutputReason.PRIVATE_TARGET, shown))


class Resolver(AbstractResolver):
    """`Targets` as aiohttp uses it."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look up a host."""
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, address in await self._targets.resolve(host, port, family=family)
        ]

    async def close(self) -> None:
        """Do nothing: the threads are everybody's."""


def is_public(address: Address) -> bool:
    """Return whether an address is on the public internet, also the IPv4 address inside an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
