"""Roles: a device node has no API, a web node has no listeners of devices, and each tells its health."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from span_events.app import Server
from span_events.app.workers.plan import SharedPorts, joined, processes
from span_events.cli.serve import as_part
from span_events.config import Config, MonitoringConfig
from span_events.errors import ConfigurationError, ListenerUnavailable, StorageUnavailable
from span_events.net import bind
from span_events.registry import location
from span_events.registry.model import GatewayType
from tests.bench.ports import FREE
from tests.cli.bench import run

SHARED: Final[dict[str, Any]] = {
    "bus": {"url": "nats://127.0.0.1:4222"},
    "registry": {"url": "postgresql+asyncpg://span@/span"},
}
"""Settings of a server of several processes; nothing connects to these."""


def of_role(role: str, **tables: Mapping[str, object]) -> Config:
    """Return the settings of a node with a role and a registry of its own: its parts do not care."""
    return Config(**FREE | tables).model_copy(update={"role": role})


async def statuses(address: str, *paths: str) -> dict[str, int]:
    """Ask a port for pages."""
    found = {}
    async with aiohttp.ClientSession() as session:
        for path in paths:
            async with session.get(f"http://{address}{path}") as reply:
                found[path] = reply.status
    return found


async def test_a_device_node_serves_its_listeners_and_only_its_health_over_http(tmp_path: Path) -> None:
    async with Server(of_role("devices"), data_dir=tmp_path) as server:
        found = await statuses(server.addresses["http"], "/healthz", "/readyz", "/metrics", "/span/collections", "/")
        async with aiohttp.ClientSession() as session, session.post(f"http://{server.addresses['http']}/x") as reply:
            problem = await reply.json(content_type=None)

    assert found == {"/healthz": 200, "/readyz": 200, "/metrics": 200, "/span/collections": 404, "/": 404}
    assert {"datagrams", "coap", "coaps", "gateways"} <= server.addresses.keys()
    assert server.addresses.keys().isdisjoint({"mqtt", "things_stack"})
    assert server.first_token is None
    assert problem["status"] == 404
    assert "nodes of role web" in problem["hint"]


async def test_a_web_node_serves_the_api_and_no_devices(tmp_path: Path) -> None:
    """The API shows where devices reach the device nodes: these have the same configuration."""
    config = of_role("web", datagrams={"port": 1234}, coap={"port": 5683})
    async with Server(config, data_dir=tmp_path) as server:
        found = await statuses(server.addresses["http"], "/healthz", "/metrics", "/", "/span/collections")
        ciot = server.fleet.directory.endpoints[GatewayType.CIOT]

    assert found == {"/healthz": 200, "/metrics": 200, "/": 200, "/span/collections": 401}
    assert server.addresses.keys() == {"http", "mqtt", "things_stack"}
    assert server.first_token
    assert (ciot["udpEndpoint"], ciot["coapEndpoint"]) == ("127.0.0.1:1234", "127.0.0.1:5683")


async def test_the_monitoring_port_serves_health_and_metrics_alone(tmp_path: Path) -> None:
    """Processes that share the HTTP port can be told apart there."""
    async with Server(of_role("all", monitoring={"enabled": True, "port": 0}), data_dir=tmp_path) as server:
        found = await statuses(server.addresses["monitoring"], "/healthz", "/readyz", "/metrics", "/span/collections")

    assert found == {"/healthz": 200, "/readyz": 200, "/metrics": 200, "/span/collections": 404}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--role", "web"), "role: web is for several processes, which need registry.url (postgresql+asyncpg://…) and"),
        (("--role", "devices"), "role: devices is for several processes"),
        (("--workers", "2"), "workers: 2 is for several processes"),
    ],
)
async def test_several_processes_without_a_bus_and_a_database_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], fault: str
) -> None:
    result = await run("serve", "--data-dir", str(tmp_path / "data"), *arguments)

    assert result.exit_code == 2
    assert fault in result.stderr
    assert "the guide scaling has the steps" in result.stderr
    assert not (tmp_path / "data").exists()


def test_a_configuration_without_the_shared_parts_says_which_are_missing() -> None:
    with pytest.raises(ValueError, match=r"workers: 3 is for several processes, which need bus\.url \(nats://…\);"):
        Config(workers=3, registry=SHARED["registry"])
    with pytest.raises(ValueError, match=r"role: web is for several processes, which need registry\.url \(postgre"):
        Config(role="web", bus=SHARED["bus"])
    with pytest.raises(
        ValueError, match=r"bus\.url: servers with a common bus share a registry, too.* set registry\.url"
    ):
        Config(bus=SHARED["bus"])
    with pytest.raises(ValueError, match="workers: a process of role devices has none"):
        Config(role="devices", workers=1, **SHARED)


def test_the_command_line_wins_over_the_configuration() -> None:
    assert as_part(Config(role="web", **SHARED), role="devices", workers=None).role == "devices"
    with pytest.raises(ConfigurationError, match="a process of role devices has none"):
        as_part(Config(workers=2, **SHARED), role="devices", workers=None)


async def test_the_demo_is_refused_with_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPAN_EVENTS_BUS__URL", SHARED["bus"]["url"])
    monkeypatch.setenv("SPAN_EVENTS_REGISTRY__URL", SHARED["registry"]["url"])
    result = await run("serve", "--data-dir", str(tmp_path / "data"), "--workers", "2", "--demo")

    assert result.exit_code == 2
    assert "--demo needs a server of one process" in result.stderr


def test_workers_share_ports_and_have_a_monitoring_port_each() -> None:
    config = Config(workers=2, monitoring=MonitoringConfig(enabled=True, port=9000), **SHARED)
    devices, *workers = processes(config, {"SPAN_EVENTS_HTTP__PORT": "8080"})

    assert devices.settings["SPAN_EVENTS_ROLE"] == "devices"
    assert devices.settings["SPAN_EVENTS_HTTP__PORT"] == "9000"
    assert devices.settings["SPAN_EVENTS_MONITORING__ENABLED"] == "false", "its HTTP port has the number already"
    assert [each.settings["SPAN_EVENTS_HTTP__PORT"] for each in workers] == ["8080", "8080"]
    assert [each.settings["SPAN_EVENTS_MONITORING__PORT"] for each in workers] == ["9001", "9002"]
    assert [each.name for each in (devices, *workers)] == ["devices", "worker-1", "worker-2"]
    assert [each.name for each in processes(Config(role="web", workers=1, **SHARED), {})] == ["worker-1"]


def test_the_ports_of_another_server_are_not_shared_with_it() -> None:
    """SO_REUSEPORT alone would let a second server in, and half of the clients would reach it."""
    with bind("http", "127.0.0.1", 0, socket.SOCK_STREAM, shared=True) as worker_of_another:
        worker_of_another.listen()
        port = worker_of_another.getsockname()[1]
        with pytest.raises(ListenerUnavailable, match=f"http: cannot bind 127.0.0.1 port {port}/tcp"):
            SharedPorts(Config(**FREE | {"http": {"port": port}}))


async def test_a_reserved_port_takes_no_connections_from_the_workers() -> None:
    with closing(SharedPorts(Config(**FREE))) as ports:
        port = int(ports.settings["SPAN_EVENTS_HTTP__PORT"])
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        with bind("http", "127.0.0.1", port, socket.SOCK_STREAM, shared=True) as worker:
            worker.listen()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()


def test_the_addresses_of_all_processes_are_shown_together() -> None:
    shared = {"http": "127.0.0.1:8080", "mqtt": "127.0.0.1:1883"}
    found = joined(
        {
            "devices": {"http": "127.0.0.1:9000", "coap": "127.0.0.1:5683"},
            "worker-1": shared | {"monitoring": "127.0.0.1:9001"},
            "worker-2": shared | {"monitoring": "127.0.0.1:9002"},
        }
    )

    assert found == shared | {
        "coap": "127.0.0.1:5683",
        "monitoring-devices": "127.0.0.1:9000",
        "monitoring-worker-1": "127.0.0.1:9001",
        "monitoring-worker-2": "127.0.0.1:9002",
    }


def test_a_data_directory_lets_in_processes_of_one_server_and_no_other(tmp_path: Path) -> None:
    used = pytest.raises(StorageUnavailable, match="is in use by another server")
    with location.lock(tmp_path, shared=True), location.lock(tmp_path, shared=True), used:
        location.lock(tmp_path)
    with location.lock(tmp_path), pytest.raises(StorageUnavailable, match="is in use by another server"):
        location.lock(tmp_path, shared=True)
