"""A server with NATS: its streams show the events of other nodes, and it serves while NATS is away."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect

from span_events.app import Server
from span_events.app.bus import make_bus, name_on_bus
from span_events.clock import SystemClock
from span_events.config import BusConfig, Config, RegistryConfig
from span_events.errors import ConfigurationError
from span_events.events.activity import Origin
from span_events.events.catalogue import ClientConnected
from span_events.events.history import History
from span_events.fleet.collections import CollectionChange
from span_events.ids import IdGenerator, render
from tests.bench.peers.nats import jetstream, nats_server
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.ports import FREE
from tests.bench.waiting import PATIENCE, until
from tests.bus.nodes import node, numbered


async def test_a_stream_shows_the_events_of_all_nodes_and_what_it_missed(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    """Health names a bus that is away; readiness does not suffer, as other nodes could do no better."""
    (tmp_path / "data").mkdir()
    async with nats_server(tmp_path, jetstream(tmp_path)) as nats:
        config = Config(**FREE, bus=BusConfig(url=nats.url), registry=RegistryConfig(url=await postgresql.new_schema()))
        async with (
            Server(config, data_dir=tmp_path / "data") as server,
            node(nats.url, 5, server=name_on_bus(server.authority.root_pem)) as other,
            aiohttp.ClientSession(f"http://{server.addresses['http']}") as http,
        ):
            url = f"ws://{server.addresses['http']}/span/activity?extended=1&tail=0"
            headers = {"X-API-Token": server.first_token or ""}
            async with connect(url, additional_headers=headers, open_timeout=PATIENCE) as stream:

                async def next_event() -> tuple[str, str]:
                    while True:
                        document = json.loads(await stream.recv())
                        if "event" in document:
                            return document["event"], document["data"].get("handshakeMs") or document["data"]["reason"]

                topics = [each for each in server.bus.metrics() if each.name == "bus_topics"]
                await until(lambda: topics[0].value() == 1)  # type: ignore[attr-defined]  # a plain one
                await until(lambda: server.hub.subscribers == 1)
                other.bus.publish(numbered(1))
                assert await next_event() == ("clientConnected", "1")

                await nats.kill()
                await until(lambda: server.bus.health() != "ok" and other.bus.health() != "ok")
                statuses = []
                for path in ("/healthz", "/readyz"):
                    async with http.get(path) as reply:
                        statuses.append((reply.status, (await reply.json())["parts"]["bus"][:9]))
                assert statuses == [(200, "degraded:"), (200, "degraded:")]

                await nats.start()
                assert await next_event() == ("eventsDropped", "busLost")
                await until(lambda: other.bus.health() == "ok")
                other.bus.publish(numbered(2))
                assert await next_event() == ("clientConnected", "2")


async def test_every_form_of_the_past_holds_the_events_of_other_nodes(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    """Of a collection that nobody watched here before."""
    registry = RegistryConfig(url=await postgresql.new_schema())
    (tmp_path / "data").mkdir()
    async with (
        nats_server(tmp_path, jetstream(tmp_path)) as nats,
        Server(Config(**FREE, bus=BusConfig(url=nats.url), registry=registry), data_dir=tmp_path / "data") as server,
        node(nats.url, 5, server=name_on_bus(server.authority.root_pem)) as other,
        aiohttp.ClientSession(f"http://{server.addresses['http']}") as http,
    ):
        token = server.first_token or ""
        collections = [await server.fleet.collections.create(CollectionChange()) for _ in range(4)]
        for each in collections:
            event = ClientConnected(origin=Origin(each.id, 9), identified_by="ip", handshake_ms=7, correlation_id=4242)
            other.bus.publish(event)
        await until(lambda: other.metric("bus_waiting_bytes") == 0)
        names = [render(each.id) for each in collections]

        url = f"ws://{server.addresses['http']}/span/collections/{names[0]}/activity?tail=1"
        async with connect(url, additional_headers={"X-API-Token": token}, open_timeout=PATIENCE) as stream:
            assert json.loads(await stream.recv())["data"]["handshakeMs"] == "7"

        async def get(path: str) -> str:
            async with http.get(path, headers={"X-API-Token": token, "Authorization": f"Bearer {token}"}) as reply:
                return await reply.text()

        assert "clientConnected" in await get(f"/span/collections/{names[1]}/activity?follow=0&tail=1")
        assert "clientConnected" in await get(f"/span/collections/{names[2]}/related?id={render(4242)}")
        body = {"identifiers": [{"application_ids": {"application_id": names[3]}}], "tail": 1}
        async with http.post("/api/v3/events", json=body, headers={"Authorization": f"Bearer {token}"}) as reply:
            async with asyncio.timeout(PATIENCE):
                await reply.content.readuntil(b"as.end_device.connect")


def test_a_bus_without_its_package_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    for name in ("span_events.bus.nats", "span_events.bus.link"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigurationError, match=r"bus\.url: the package nats-py") as caught:
        make_bus(
            Config(bus=BusConfig(url="nats://h"), registry=RegistryConfig(url="postgresql+asyncpg://h/d")),
            SystemClock(),
            IdGenerator(),
            History(per_collection=1, total=1, born=0),
            b"",
        )

    assert "span-events[nats]" in caught.value.hint
