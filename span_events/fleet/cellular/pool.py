"""
The pool: addresses for devices that attach.

Unused addresses are assigned first; after them, used ones in the order in which they became free. So a late
datagram rarely reaches the next owner of its address, and a device that returns mostly gets its last address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network
from typing import Final, cast

_PREFIX: Final = 64
"""Length of the IPv6 prefix of a device (3GPP TS 23.401 section 5.3.1.2.2)."""
_REMEMBERED: Final = 16_384
"""Number of addresses in the cache of look-ups: requests repeat the same addresses."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Consecutive addresses as numbers; /64 prefixes are 2^shift apart."""

    first: int
    count: int
    shift: int = 0

    def __contains__(self, number: int) -> bool:
        return 0 <= number - self.first < self.count << self.shift


class Pool:
    """
    IPv4 addresses, or IPv6 /64 prefixes, assigned one by one.

    Args:
        prefixes: Networks of the configuration; those of the other address family are ignored.
        version: 4 or 6.
    """

    def __init__(self, prefixes: Iterable[str], *, version: int) -> None:
        networks = [each for each in map(ip_network, prefixes) if each.version == version]
        one_family = cast(list[IPv4Network], networks)
        self._version = version
        self._blocks = [_block_of(each) for each in collapse_addresses(one_family)]
        self.size = sum(each.count for each in self._blocks)
        """Number of all addresses."""
        self._has = lru_cache(_REMEMBERED)(self._look_up)
        self._looked_at = 0
        self._freed: OrderedDict[str, tuple[float, Hashable]] = OrderedDict()  # end of quarantine, last owner

    @property
    def left(self) -> int:
        """Number of addresses free now or after their quarantine; static addresses of devices among them count."""
        return self.size - self._looked_at + len(self._freed)

    def __contains__(self, address: str) -> bool:
        if not self._blocks:
            return False  # every request asks, also without a pool
        return self._has(address)

    def take(self, owner: Hashable, now: float, *, preferred: str, is_taken: Callable[[str], bool]) -> str | None:
        """
        Assign an address to an owner.

        Args:
            now: Monotonic seconds.
            preferred: Assigned if it is an address of the pool, free, and not in quarantine for another owner.
            is_taken: Returns True if another owner has an address, of the pool or static.

        Returns:
            The address in canonical text; None if no address is left.
        """
        if preferred and preferred in self and not is_taken(preferred):
            until, last_owner = self._freed.get(preferred, (now, owner))
            if until <= now or last_owner == owner:
                self._freed.pop(preferred, None)
                return preferred
        while self._looked_at < self.size:
            address = self._at(self._looked_at)
            self._looked_at += 1
            if address not in self._freed and not is_taken(address):
                return address
        while self._freed:
            address, (until, _) = next(iter(self._freed.items()))
            if until > now:
                break
            del self._freed[address]
            if not is_taken(address):  # a taken address returns when its owner frees it
                return address
        return None

    def free(self, address: str, owner: Hashable, until: float | None = None) -> None:
        """
        Return an address to the pool; addresses of no pool are ignored.

        Args:
            until: End of the quarantine in monotonic seconds; None if the address was not used.
        """
        if address and address in self:
            self._freed[address] = until or 0.0, owner
            self._freed.move_to_end(address, last=until is not None)

    def _look_up(self, address: str) -> bool:
        try:
            network = ip_network(address)
        except ValueError:
            return False
        number = int(network.network_address)
        return network.version == self._version and any(number in each for each in self._blocks)

    def _at(self, index: int) -> str:
        for block in self._blocks:
            if index < block.count:
                break
            index -= block.count
        number = block.first + (index << block.shift)
        return str(IPv4Address(number)) if self._version == 4 else f"{IPv6Address(number)}/{_PREFIX}"


def _block_of(network: IPv4Network | IPv6Network) -> _Block:
    """Return the addresses of a network; without network and broadcast address, which routers treat as its own."""
    first, count = int(network.network_address), network.num_addresses
    if network.version == 6:
        return _Block(first, count >> _PREFIX, _PREFIX)
    return _Block(first + 1, count - 2) if count > 2 else _Block(first, count)
