"""The processes of a server with workers: their names, arguments and settings."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from span_events.config import Config
from span_events.config.sections.config import PREFIX
from span_events.net import bind

DEVICES: Final = "devices"
"""Name of the device node."""


@dataclass(frozen=True, slots=True)
class Process:
    """
    A process of the server: its name, settings and role.

    Attributes:
        settings: Environment variables that differ from those of its parent.
    """

    name: str
    settings: Mapping[str, str]
    serves_devices: bool


class SharedPorts:
    """
    The ports of HTTP, MQTT and gRPC, reserved for the workers until `close`.

    A bound socket that does not listen gets no connections, and keeps the number while a worker is away.

    Raises:
        ListenerUnavailable: Another server has a port.
    """

    def __init__(self, config: Config) -> None:
        self.settings: dict[str, str] = {}
        """The numbers, as settings of the workers."""
        stack = ExitStack()
        places = [("http", "http.port", config.http.host, config.http.port)]
        if config.mqtt.enabled:
            places.append(("mqtt", "mqtt.port", config.mqtt.host, config.mqtt.port))
        if config.things_stack.grpc:
            things_stack = config.things_stack
            places.append(("things_stack", "things_stack.grpc_port", things_stack.grpc_host, things_stack.grpc_port))
        with stack:
            for name, setting, host, port in places:
                with bind(name, host, port, socket.SOCK_STREAM, setting=setting) as alone:  # fails if it is in use
                    number = alone.getsockname()[1]
                stack.enter_context(bind(name, host, number, socket.SOCK_STREAM, setting=setting, shared=True))
                self.settings[variable(setting)] = str(number)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Release the ports."""
        self._stack.close()


def processes(config: Config, ports: Mapping[str, str]) -> list[Process]:
    """
    List the processes of a configuration, the device node first.

    Args:
        ports: Settings of the ports that the workers share.
    """
    monitoring = config.monitoring
    found = []
    if config.role == "all":
        settings = {
            "role": "devices",
            "workers": "0",
            "http.host": monitoring.host,
            "http.port": str(monitoring.port),
            "http.tls": "off",
            "monitoring.enabled": "false",  # its HTTP has nothing else, at that very port
        }
        found.append(Process(DEVICES, _variables(settings), serves_devices=True))
    for number in range(1, config.workers + 1):
        settings = {
            "role": "web",
            "workers": "0",
            "shared_ports": "true",
            "monitoring.enabled": "true",
            "monitoring.port": str(monitoring.port + number if monitoring.port else 0),
        }
        found.append(Process(f"worker-{number}", _variables(settings) | dict(ports), serves_devices=False))
    return found


def joined(addresses: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Join the addresses of the processes, by their names: shared ports once, the monitoring of each."""
    found: dict[str, str] = {}
    for process, ports in addresses.items():
        for name, address in ports.items():
            is_own = name == "monitoring" or (process == DEVICES and name == "http")
            found[f"monitoring-{process}" if is_own else name] = address
    return found


def variable(setting: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.replace(".", "__").upper()


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {variable(name): text for name, text in settings.items()}
