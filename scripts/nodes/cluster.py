"""The cluster: which programs, on which ports, with which settings; started in order and stopped in reverse."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Final

from scripts.nodes.proxy import nginx
from scripts.nodes.servers import nats, object_store, postgresql
from scripts.nodes.service import Service, accepts

WEB: Final = ("web1", "web2")
DEVICES: Final = ("devices1", "devices2")
PORTS: Final = {"http": 0, "datagrams": 1, "coaps": 2, "gateways": 3, "blobs_tls": 4, "nats": 10, "object-store": 11}
"""Ports of nginx and of the servers, counted from the first."""
_OF_NODE: Final = (
    *("http.port", "datagrams.port", "coap.port", "coaps.port", "gateways.port", "blobs.port", "blobs.tls_port"),
    *("mqtt.port", "things_stack.grpc_port"),
)
"""Settings of a node that are ports, in the order of their numbers."""
_FIRST_OF_NODES: Final = 20
_PER_NODE: Final = 10
COUNT: Final = _FIRST_OF_NODES + _PER_NODE * len((*WEB, *DEVICES))
"""Ports that a cluster needs, side by side."""
_PROGRAM: Final = str(Path(sys.executable).with_name("span-events"))


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that runs."""

    folder: Path
    ports: Mapping[str, int]
    """By name: ``http`` (nginx), ``nats``, ``web1.http.port`` and so on."""
    token: str
    services: Mapping[str, Service]

    def variables(self) -> dict[str, str]:
        """Describe it for a shell: addresses of nginx and of each node, the token, the folder."""
        named = {"CLUSTER": str(self.folder), "SPAN_API_TOKEN": self.token}
        named["SPAN_API_ENDPOINT"] = f"http://127.0.0.1:{self.ports['http']}"
        named |= {name.upper(): f"127.0.0.1:{self.ports[name]}" for name in ("datagrams", "coaps", "gateways")}
        named |= {name.upper(): f"http://127.0.0.1:{self.ports[f'{name}.http.port']}" for name in WEB}
        for name in DEVICES:
            named[name.upper()] = f"127.0.0.1:{self.ports[f'{name}.datagrams.port']}"
            named[f"{name.upper()}_COAP"] = f"127.0.0.1:{self.ports[f'{name}.coap.port']}"
        return named


async def start(stack: AsyncExitStack, folder: Path, first: int, tell: Callable[[str], None]) -> Cluster:
    """
    Start everything; the stack stops it.

    Args:
        first: The first of `COUNT` ports.

    Raises:
        DidNotStart: A program ended before it was ready.
    """
    ports = {name: first + number for name, number in PORTS.items()}
    services: dict[str, Service] = {}

    async def run(*together: Service) -> None:
        tell(f"starting {', '.join(each.name for each in together)}")
        for service in together:
            services[service.name] = service
            stack.push_async_callback(service.stop)
        await asyncio.gather(*(each.start() for each in together))

    database, registry = postgresql(folder)
    store, files = object_store(folder, ports["object-store"])
    await run(nats(folder, ports["nats"]), database, store)
    settings = _settings(folder, registry, f"nats://127.0.0.1:{ports['nats']}", files)
    nodes = []
    for number, name in enumerate((*WEB, *DEVICES)):
        begin = first + _FIRST_OF_NODES + _PER_NODE * number
        own = {key: begin + place for place, key in enumerate(_OF_NODE)}
        ports |= {f"{name}.{key}": port for key, port in own.items()}
        nodes.append(_node(folder, settings, name, own))
    await run(nodes[0])  # it makes the tables, the authority and the first token
    await run(*nodes[1:])
    await run(nginx(folder, _listens(ports), _upstreams(ports)))
    return Cluster(folder, ports, _token(folder), services)


async def watch(cluster: Cluster, tell: Callable[[str], None]) -> None:
    """Start again what dies, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for service in cluster.services.values():
            group.create_task(service.watch(tell))


def free_ports() -> int:
    """Return the first of `COUNT` ports that are free side by side now."""
    while True:
        first = random.randrange(20_000, 32_000 - COUNT, COUNT)  # noqa: S311  # below the ports of clients
        with ExitStack() as sockets, suppress(OSError):
            for port in range(first, first + COUNT):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    sockets.enter_context(socket.socket(type=kind)).bind(("127.0.0.1", port))
            return first


def _settings(folder: Path, registry: str, bus: str, files: Mapping[str, str]) -> Path:
    """Write the configuration of all nodes; each has a data directory of its own, as on machines of their own."""
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(token_hex(32))
    tables = {"registry": {"url": registry}, "bus": {"url": bus}, "files": files, "pki": {"secret_file": str(secret)}}
    path = folder / "cluster.toml"
    path.write_text(
        "\n".join(
            f"[{table}]\n" + "".join(f'{name} = "{value}"\n' for name, value in values.items())
            for table, values in tables.items()
        )
    )
    return path


def _node(folder: Path, settings: Path, name: str, ports: Mapping[str, int]) -> Service:
    role = "web" if name in WEB else "devices"
    variables = {f"SPAN_EVENTS_{key.replace('.', '__')}".upper(): str(port) for key, port in ports.items()}
    command = [_PROGRAM, "serve", "--role", role, "--config", str(settings), "--data-dir", str(folder / name)]
    return Service(name, command, folder, accepts(ports["http.port"]), environment=variables)


def _listens(ports: Mapping[str, int]) -> dict[str, int]:
    """Return the ports of nginx, by those of the example."""
    names = {"443": "http", "1234": "datagrams", "5684": "coaps", "6674": "gateways", "8443": "blobs_tls"}
    return {there: ports[name] for there, name in names.items()}


def _upstreams(ports: Mapping[str, int]) -> dict[str, int]:
    """Return the ports of the nodes, by their addresses in the example."""
    found = {f"10.0.0.1{number}:8080": ports[f"{name}.http.port"] for number, name in enumerate(WEB, 1)}
    theirs = {1234: "datagrams.port", 5684: "coaps.port", 6674: "gateways.port", 8443: "blobs.tls_port"}
    return found | {
        f"10.0.0.2{number}:{port}": ports[f"{name}.{key}"]
        for number, name in enumerate(DEVICES, 1)
        for port, key in theirs.items()
    }


def _token(folder: Path) -> str:
    """Return the first admin token, which the first web node wrote into a file."""
    return (folder / WEB[0] / "admin-token").read_text().strip()
