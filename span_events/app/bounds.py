"""Bounds of the configuration that concern the whole process."""

from __future__ import annotations

from span_events.config import Config


def connections_of(config: Config) -> int:
    """Return how many connections all listeners may hold at the same time."""
    blobs = 2 * config.blobs.connections if config.blobs.enabled else 0
    gateways = config.gateways.connections if config.gateways.enabled else 0
    grpc = config.things_stack.grpc_connections if config.things_stack.grpc else 0
    console = config.things_stack.console_connections
    mqtt = config.mqtt.connections if config.mqtt.enabled else 0
    return config.fanout.subscribers + config.http.connections + gateways + blobs + grpc + console + mqtt
