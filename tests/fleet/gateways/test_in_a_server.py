"""Gateways in a whole server: the wiring of its parts, and the state kept over a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from span_events.app import Server
from span_events.config import Config
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.registry.directory import BUILT_IN
from span_events.registry.model import Gateway, GatewayType
from tests.bench.clock import ManualClock
from tests.bench.ports import FREE


@asynccontextmanager
async def started(folder: Path, **settings: dict[str, Any]) -> AsyncIterator[Server]:
    """Run a server on free ports; unlike `running`, with data of an earlier run."""
    tables = dict(FREE)
    for name, table in settings.items():
        tables[name] = tables.get(name, {}) | table
    async with Server(Config(**tables), data_dir=folder, clock=ManualClock()) as server:
        yield server


async def built_in(server: Server, kind: GatewayType) -> Gateway:
    """Return a built-in gateway of a new collection."""
    collection = await server.fleet.collections.create(CollectionChange())
    return server.fleet.directory.gateway(collection.id, BUILT_IN[kind])


async def test_a_restart_keeps_gateways_and_the_devices_behind_them(tmp_path: Path) -> None:
    """No gateway is connected after the restart."""
    async with started(tmp_path) as server:
        collection = await server.fleet.collections.create(CollectionChange())
        gateway = await server.fleet.gateways.create(collection, GatewayChange(name="roof"))
        change = DeviceChange(gateways={gateway.id: {"devEui": "00"}})
        device = await server.fleet.devices.create(collection, change, cause=1)
        server.fleet.reception.received_through(
            gateway, device, b"hello", remote=("10.0.0.9", 4000), session_id=1, metadata={"rssi": "-90"}
        )
    async with started(tmp_path) as again:
        found = again.fleet.directory.gateway(collection.id, gateway.id)
        (behind,) = again.fleet.directory.devices_behind(found)

        assert (found.name, found.is_online) == ("roof", False)
        assert (behind.id, behind.gateway.params, behind.last_gateway_id) == (device.id, {"rssi": "-90"}, gateway.id)


async def test_built_in_gateways_show_what_is_bound(tmp_path: Path) -> None:
    """The ports to configure in devices."""
    async with started(tmp_path) as server:
        ciot, inet = await built_in(server, GatewayType.CIOT), await built_in(server, GatewayType.INET)
        bound = server.addresses

        assert ciot.params == {"apn": "", "udpEndpoint": bound["datagrams"], "coapEndpoint": bound["coap"]}
        assert inet.params == {"dtlsEndpoint": bound["datagrams"], "coapEndpoint": bound["coaps"], "mqttEndpoint": ""}
        assert (ciot.status, inet.status) == ("online", "online")


async def test_a_server_bound_to_all_addresses_shows_its_name(tmp_path: Path) -> None:
    """0.0.0.0 is no destination; a disabled listener has no endpoint."""
    settings: dict[str, Any] = {
        "pki": {"server_names": ["iot.example.org"]},
        "datagrams": {"host": "0.0.0.0"},
        "dtls": {"enabled": False},
        "coap": {"enabled": False},
        "coaps": {"enabled": False},
    }
    async with started(tmp_path, **settings) as server:
        ciot, inet = await built_in(server, GatewayType.CIOT), await built_in(server, GatewayType.INET)
        port = server.addresses["datagrams"].rpartition(":")[2]

        assert (ciot.params["udpEndpoint"], ciot.params["coapEndpoint"]) == (f"iot.example.org:{port}", "")
        assert inet.status == "offline"


async def test_the_metrics_of_gateways_are_served(tmp_path: Path) -> None:
    async with started(tmp_path) as server:
        names = {each.name for each in server.metrics()}

        assert {"gateways_online", "gateway_rejections", "gateway_troubles_untold"} <= names
