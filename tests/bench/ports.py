"""A free port for whatever listens: tests run beside each other, and beside a server."""

from __future__ import annotations

import socket
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


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
