"""Network addresses: a peer's address and port, their text, and binding a local address."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Final

from span_events.errors import ListenerUnavailable

Remote = tuple[str, int]
"""Canonical text of an IP address, and a port."""

_PROTOCOLS: Final = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}


def render_remote(remote: Remote) -> str:
    """Write an address and port as text (``127.0.0.1:5683``, ``[::1]:5683``)."""
    host, port = remote
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def neighbourhood_of(host: str) -> str:
    """Return the network that one client may use all addresses of: the /24 of an IPv4, the /56 of an IPv6 address."""
    if ":" not in host:
        return host.rpartition(".")[0]
    return ipaddress.IPv6Address(host).packed[:7].hex()


def bind(
    name: str, host: str, port: int, kind: socket.SocketKind, *, receive_buffer: int = 0, setting: str = ""
) -> socket.socket:
    """
    Return a non-blocking socket that is bound; an IPv6 one also serves IPv4.

    Args:
        name: Listener that it is for.
        receive_buffer: SO_RCVBUF, octets; 0 leaves the system's.
        setting: Where the port stands in the configuration, if not under ``port`` in the table of that name.

    Raises:
        ListenerUnavailable: The address cannot be bound.
    """
    setting = setting or f"{name}.port"
    table = setting.partition(".")[0]
    try:
        family, _, protocol, _, target = socket.getaddrinfo(host, port, type=kind)[0]
        opened = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as exc:  # UnicodeError: no name in the sense of IDNA
        raise ListenerUnavailable(
            f"{name}: {host} is no address that can be bound: {exc}",
            hint=f"{table}.host takes an address or name of this machine, without a port; 0.0.0.0 or :: means all.",
        ) from exc
    try:
        opened.setblocking(False)
        if kind is socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind(target)
    except OSError as exc:
        opened.close()
        what = f"{name}: cannot bind {host} port {port}/{_PROTOCOLS[kind]}: {exc.strerror}"
        raise ListenerUnavailable(what, hint=_advice(exc, setting, host, port)) from exc
    return opened


def _advice(error: OSError, setting: str, host: str, port: int) -> str:
    variable = f"SPAN_EVENTS_{setting.replace('.', '__')}".upper()
    if error.errno == errno.EADDRNOTAVAIL:
        return f"This machine has no address {host}; `ip addr` lists those that it has."
    if error.errno == errno.EACCES:
        return f"Ports below 1024 need a privilege: choose another ({variable}=8000)."
    return f"`ss -lntup 'sport = :{port}'` shows who has it; {variable}=0 picks a free port instead."
