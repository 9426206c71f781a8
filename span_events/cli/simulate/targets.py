"""Options that say where simulated devices send to, and where from."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import click

from span_events.simulator.sockets import Address


class HostAndPort(click.ParamType[Address]):
    """``HOST:PORT``; the host is an IP address, as devices of one run all send to the same one."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Return host and port."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            self.fail(f"{value!r} is not an IP address and a port, such as 127.0.0.1:1234", param, ctx)
        return str(address), _port(self, port, param, ctx)


class NameAndPort(click.ParamType[Address]):
    """``HOST:PORT``; the server's certificate must contain the host."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Return host and port."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        host = host.strip("[]")
        if not host:
            self.fail(f"{value!r} is not a host and a port, such as 127.0.0.1:6674", param, ctx)
        return host, _port(self, port, param, ctx)


class RadiusPorts(click.ParamType[tuple[Address, Address]]):
    """``HOST:PORT[,HOST:PORT]``: authentication and accounting; the latter is the next port if it is left out."""

    name = "HOST:PORT[,HOST:PORT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Address, Address]:
        """Return both addresses."""
        if isinstance(value, tuple):
            return value
        first, _, second = str(value).partition(",")
        authentication = HostAndPort().convert(first, param, ctx)
        host, port = authentication
        if not second and port == (1 << 16) - 1:
            self.fail(f"there is no port after {port}: say where accounting is, {first},HOST:PORT", param, ctx)
        return authentication, HostAndPort().convert(second, param, ctx) if second else (host, port + 1)


def check_base(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """Take the first address of a row."""
    try:
        ipaddress.IPv4Address(value)
    except ValueError as exc:
        raise click.BadParameter(f"{value!r} is not an IPv4 address", ctx, parameter) from exc
    return value


def read_secret(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> bytes | None:
    """Read a secret as the server does: a newline at the end of the file does not count."""
    if value is None:
        return None
    try:
        secret = value.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    except OSError as exc:
        raise click.BadParameter(f"{value} cannot be read: {exc.strerror}", ctx, parameter) from exc
    if not secret:
        raise click.BadParameter(f"{value} is empty", ctx, parameter)
    return secret


def _port(kind: click.ParamType[Any], text: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 16:
        kind.fail(f"{text!r} is not a port: 1 to 65535", param, ctx)
    return int(text)
