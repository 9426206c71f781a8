"""Proxies in front of the HTTP port: the address of the client behind them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from aiohttp import web

from span_events.config.fields import Prefix


class Proxies:
    """
    Finds the client of a request.

    Args:
        trusted: Proxies whose ``X-Forwarded-For`` is believed.
    """

    def __init__(self, trusted: Sequence[Prefix]) -> None:
        self._trusted = trusted

    def client_of(self, request: web.Request) -> str | None:
        """Return the address of the client: the last one on the way that is no trusted proxy."""
        client = request.remote
        lines = request.headers.getall("X-Forwarded-For", [])
        before = [each.strip() for line in lines for each in line.split(",")]
        while client is not None and before and self._trusts(client):
            address = _address(before.pop())
            if address is None:
                break
            client = address
        return client

    def _trusts(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found.version == each.version and found in each for each in self._trusted)


def _address(text: str) -> str | None:
    """Read an address, with or without a port; None if it is none."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
