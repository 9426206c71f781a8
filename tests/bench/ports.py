"""Ports that are free for whatever listens: tests run beside each other, and beside a server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

FREE: Final[dict[str, Any]] = {
    name: {"port": 0} for name in ("http", "monitoring", "datagrams", "coap", "coaps", "gateways", "mqtt")
} | {
    "radius": {"port": 0, "accounting_port": 0},
    "blobs": {"port": 0, "tls_port": 0},
    "things_stack": {"grpc_port": 0},
}
"""Tables of the configuration."""
FREE_VARIABLES: Final = {f"SPAN_EVENTS_{name}__{key}".upper(): "0" for name, table in FREE.items() for key in table}
"""The same for the environment of a program."""


_BLOCK: Final = 200
"""Ports of one lease."""


def _free_ports() -> Iterator[int]:
    """
    Yield TCP and UDP ports that are free, each once.

    No other process of tests yields them: a UDP socket bound to the first port of a block leases the others. Linux
    gives a socket that asks for any port one from 32,768 on. So a port stays free until the program that a test starts
    has bound it, and while that program is down.
    """
    with ExitStack() as leases:
        for first in range(10_000, 30_000, _BLOCK):
            if _is_free(first) and (lease := _bound(first, socket.SOCK_DGRAM)):
                leases.enter_context(lease)
                yield from filter(_is_free, range(first + 1, first + _BLOCK))


def _is_free(port: int) -> bool:
    """Return whether nobody has a port now, neither for TCP nor for UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        if (probe := _bound(port, kind)) is None:
            return False
        probe.close()
    return True


def _bound(port: int, kind: socket.SocketKind) -> socket.socket | None:
    """Bind a socket to a port of 127.0.0.1; None if the port is taken."""
    probe = socket.socket(type=kind)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        return None
    return probe


_FREE_PORTS: Final = _free_ports()


def free_port() -> int:
    """Return a port of TCP and UDP that is free now, and that no other test gets."""
    return next(_FREE_PORTS)


def free_ports(count: int) -> int:
    """Return the first of some free ports side by side."""
    while True:
        found = [free_port() for _ in range(count)]
        if found[-1] - found[0] == count - 1:
            return found[0]
