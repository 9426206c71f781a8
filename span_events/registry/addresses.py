"""Address book: devices by IPv4 or IPv6 address, and by /64 prefix with every host in it."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Final

from span_events.registry.model import Device

_LENGTH: Final = 64
"""Bits of the prefix that a device of a mobile network has for itself (3GPP TS 23.401 section 5.3.1.2.2)."""


class AddressBook(dict[str, Device]):
    """
    Devices by address or by prefix (``2001:db8:1:2::/64``), in canonical text.

    ``book[address]`` returns the device with the address itself, else the device with its prefix, else None.
    A known address costs one look-up, with or without prefixes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._by_prefix: dict[int, Device] = {}
        self._hosts: dict[int, dict[str, Device]] = {}  # devices with an IPv6 address of their own, by its prefix

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
        """Return the devices with an address of their own in a prefix."""
        return list(self._hosts.get(_bits_of(prefix), {}).values())


def prefix_of(address: str) -> str:
    """Return the /64 prefix that an IPv6 address lies in."""
    return str(IPv6Network((_bits_of(address) << _LENGTH, _LENGTH)))


def _bits_of(address: str) -> int:
    """Return the bits of a prefix, or of the prefix of an address."""
    return int(IPv6Address(address.partition("/")[0])) >> _LENGTH
