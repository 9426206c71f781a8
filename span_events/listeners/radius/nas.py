"""The NAS of the configuration, found by the source address of a request."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from span_events.config import NasConfig, RadiusConfig
from span_events.wire.radius.packets import Attributes, settings_of

GOOD_SECRET: Final = 16
"""Minimum length of a good secret: an attacker who captures a request can guess shorter ones offline."""
_SENDERS: Final = 4096
"""Number of source addresses in the cache of look-ups, unknown ones included."""


@dataclass(frozen=True, slots=True)
class Nas:
    """One entry of the configuration."""

    name: str
    secret: bytes = field(repr=False)
    requires_signature: bool
    """True if Access-Requests without Message-Authenticator are dropped."""
    sends_accounting: bool
    names_imsi: bool
    """True if User-Name holds the IMSI where 3GPP-IMSI is missing."""
    settings: Attributes
    """Attributes of every Access-Accept."""
    secret_file: str
    """File with the secret; empty if the secret stands in the configuration."""

    @property
    def has_short_secret(self) -> bool:
        """True if the secret is shorter than `GOOD_SECRET`."""
        return len(self.secret) < GOOD_SECRET

    @property
    def has_readable_secret(self) -> bool:
        """True if every user of this machine may read the file with the secret."""
        try:
            return bool(self.secret_file) and bool(os.stat(self.secret_file).st_mode & stat.S_IROTH)
        except OSError:  # the file was removed, or its folder is not readable any more
            return False


class NasTable:
    """The NAS by addresses and prefixes; the longest matching prefix wins."""

    def __init__(self, config: RadiusConfig) -> None:
        self._by_prefix: dict[tuple[int, int], dict[int, Nas]] = {}  # version and length, then the bits of a prefix
        self.entries = tuple(_entry(each, config.dns) for each in config.nas)
        for entry, nas in zip(config.nas, self.entries, strict=True):
            for prefix in entry.addresses:
                bits = int(prefix.network_address) >> prefix.max_prefixlen - prefix.prefixlen
                self._by_prefix.setdefault((prefix.version, prefix.prefixlen), {})[bits] = nas
        self._lengths = sorted(self._by_prefix, reverse=True)
        self.find = lru_cache(_SENDERS)(self._find)
        """Return the NAS at an address, None for an unknown address."""

    def _find(self, host: str) -> Nas | None:
        address = ip_address(host)
        number = int(address)
        for version, length in self._lengths:
            if version == address.version:
                nas = self._by_prefix[version, length].get(number >> address.max_prefixlen - length)
                if nas is not None:
                    return nas
        return None


def _entry(config: NasConfig, dns: Sequence[IPv4Address | IPv6Address]) -> Nas:
    return Nas(
        name=config.name,
        secret=config.secret.get_secret_value().encode(),
        requires_signature=config.require_message_authenticator,
        sends_accounting=config.accounting,
        names_imsi=config.imsi_from_user_name,
        settings=settings_of(dns=dns, interim_interval=config.interim_interval if config.accounting else 0),
        secret_file=config.secret_file,
    )
