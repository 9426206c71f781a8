"""Network addresses: a peer's address and port, their text, brokers by URL, and binding a local address."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from span_events.errors import ListenerUnavailable

Remote = tuple[str, int]
"""Canonical text of an IP address, and a port."""

_PROTOCOLS: Final = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}


def render_remote(remote: Remote) -> str:
    """Write an address and port as text (``127.0.0.1:5683``, ``[::1]:5683``)."""
    host, port = remote
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(text: str) -> str:
    """Return the address in a text that `render_remote` wrote."""
    return text.rpartition(":")[0].strip("[]")


@dataclass(frozen=True, slots=True)
class Broker:
    """Address of an MQTT broker."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{render_remote((self.host, self.port))}"


_OVER_TCP: Final = ("mqtt", "tcp")
_OVER_TLS: Final = ("mqtts", "ssl", "tls")


def broker_of(url: str) -> Broker:
    """
    Read the URL of a broker: ``mqtt://host:1883``, ``mqtts://host:8883``, or ``host:port``.

    Raises:
        ValueError: It is none of these.
    """
    parts = urlsplit(url if "://" in url else f"mqtt://{url}")
    tls = parts.scheme in _OVER_TLS
    port = parts.port or (8883 if tls else 1883)
    known = tls or parts.scheme in _OVER_TCP
    if not parts.hostname or not known or not url.isprintable() or "@" in url:
        raise ValueError
    return Broker(parts.hostname, port, tls)


def shown_url(url: str) -> str:
    """Return a URL without query and fragment, which may hold a secret; empty if it is none."""
    try:
        return urlsplit(url)._replace(query="", fragment="").geturl()
    except ValueError:
        return ""


def failure_of(exc: OSError) -> str:
    """Return why a connection failed, as the system words it; asyncio's own text hides the cause."""
    if exc.errno is not None and exc.errno > 0:
        return os.strerror(exc.errno)
    return exc.strerror or str(exc) or type(exc).__name__  # a name that cannot be looked up, or several addresses


def neighbourhood_of(host: str) -> str:
    """Return the network that one client may use all addresses of: the /24 of an IPv4, the /56 of an IPv6 address."""
    if ":" not in host:
        return host.rpartition(".")[0]
    return ipaddress.IPv6Address(host).packed[:7].hex()


def bind(
    name: str,
    host: str,
    port: int,
    kind: socket.SocketKind,
    *,
    receive_buffer: int = 0,
    setting: str = "",
    shared: bool = False,
) -> socket.socket:
    """
    Return a non-blocking socket that is bound; an IPv6 one also serves IPv4.

    Args:
        name: Listener that it is for.
        receive_buffer: SO_RCVBUF, octets; 0 leaves the system's.
        shared: True lets other processes of this user bind the same TCP port; the kernel spreads connections over them.
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
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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
