"""Endpoints of the built-in gateways: where devices reach this server, as the API shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from span_events.config import Config
from span_events.net import render_remote
from span_events.registry.directory import Directory
from span_events.registry.model import GatewayType

EVERYWHERE: Final = ("0.0.0.0", "[::]")  # noqa: S104  # compared, not bound
"""Hosts of a listener at all addresses of the machine."""


def configured_addresses(config: Config) -> dict[str, str]:
    """Return where the listeners of device nodes with the same configuration are, ``host:port`` by listener."""
    listeners = (
        ("datagrams", config.datagrams.enabled, config.datagrams.host, config.datagrams.port),
        ("coap", config.coap.enabled, config.coap.host, config.coap.port),
        ("coaps", config.coaps.enabled, config.coaps.host, config.coaps.port),
    )
    return {name: render_remote((host, port)) for name, enabled, host, port in listeners if enabled}


def fill_endpoints(config: Config, addresses: Mapping[str, str], directory: Directory) -> None:
    """
    Fill in the endpoints of the built-in gateways.

    Args:
        addresses: Addresses of listeners: listener name to ``host:port``.
    """
    names, endpoints = config.pki.server_names, directory.endpoints

    def endpoint(listener: str) -> str:
        host, _, port = addresses.get(listener, "").rpartition(":")
        everywhere = host in EVERYWHERE
        return f"{names[0] if names and everywhere else host}:{port}" if host else ""

    endpoints[GatewayType.CIOT].update(udpEndpoint=endpoint("datagrams"), coapEndpoint=endpoint("coap"))
    endpoints[GatewayType.INET].update(
        dtlsEndpoint=endpoint("datagrams") if config.dtls.enabled else "", coapEndpoint=endpoint("coaps")
    )
