"""Endpoints of the built-in gateways: where devices reach this server, as the API shows it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from span_events.config import Config
from span_events.registry.directory import Directory
from span_events.registry.model import GatewayType


def fill_endpoints(config: Config, addresses: Mapping[str, str], directory: Directory) -> None:
    """
    Fill in the endpoints of the built-in gateways.

    Args:
        addresses: Bound addresses: listener name to ``host:port``.
    """
    names, endpoints = config.pki.server_names, directory.endpoints

    def endpoint(listener: str) -> str:
        host, _, port = addresses.get(listener, "").rpartition(":")
        everywhere = bool(host) and ipaddress.ip_address(host.strip("[]")).is_unspecified
        return f"{names[0] if names and everywhere else host}:{port}" if host else ""

    endpoints[GatewayType.CIOT].update(udpEndpoint=endpoint("datagrams"), coapEndpoint=endpoint("coap"))
    endpoints[GatewayType.INET].update(
        dtlsEndpoint=endpoint("datagrams") if config.dtls.enabled else "", coapEndpoint=endpoint("coaps")
    )
