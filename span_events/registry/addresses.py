"""Who has which address: IPv4 and IPv6 addresses one by one, and /64 prefixes with every host in them."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Final

from span_events.registry.model import Device

_LENGTH: Final = 64
"""Bits of the prefix that a device of a mobile network has for itself (3GPP TS 23.401 section 5.3.1.2.2)."""


class AddressBook(dict[str, Device]):
    """
    Devices by address or by prefix (``2001:db8:1:2::/64``), in canonical text.

    ``book[address]`` finds who has the address itself, else who has the prefix that it lies in, else None.
    So an address that is known costs one look-up, prefixes or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._by_prefix: dict[int, Device] = {}
        self._hosts: dict[int, dict[str, Device]] = {}  # who has an IPv6 address itself, by the prefix it lies in

    def __setitem__(self, address: str, device: Device) -> None:
        super().__setitem__(address, device)
        if "/" in address:
            self._by_prefix[_bits_of(address)] = device
        elif ":" in address:
            self._hosts.setdefault(_bits_of(address), {})[address] = device

    def __delitem__(self, address: str) -> None:
        super().__delitem__(address)
        if "/" in address:
            del self._by_prefix[_bits_of(address)]
        elif ":" in address:
            hosts = self._hosts[_bits_of(address)]
            del hosts[address]
            if not hosts:
                del self._hosts[_bits_of(address)]

    def __missing__(self, address: str) -> Device | None:
        if not self._by_prefix or ":" not in address or "/" in address:
            return None
        return self._by_prefix.get(_bits_of(address))

    def hosts_in(self, prefix: str) -> list[Device]:
        """List who has an address itself that lies in a prefix."""
        return list(self._hosts.get(_bits_of(prefix), {}).values())


def prefix_of(address: str) -> str:
    """Return the /64 prefix that an IPv6 address lies in."""
    return str(IPv6Network((_bits_of(address) << _LENGTH, _LENGTH)))


def _bits_of(address: str) -> int:
    """Return the bits of a prefix, or of the one that an address lies in."""
    return int(IPv6Address(address.partition("/")[0])) >> _LENGTH
