"""Whole servers that subscribe at the broker of a ChirpStack server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from span_events.app import Server
from span_events.config import ChirpstackConfig
from span_events.events.activity import Activity
from span_events.ids import render
from span_events.registry.shared import leader
from tests.app.test_sharing import config_of
from tests.bench.nodes import fleet_node
from tests.bench.peers.mosquitto import mosquitto, publish
from tests.bench.peers.nats import nats_server
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.servers import running
from tests.bench.waiting import until
from tests.dialects.chirpstack.samples import EUI, body


async def test_events_of_a_broker_are_published_and_the_broker_is_measured(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    async with running(data) as started:
        collection = render((await started.collection()).id)
    async with mosquitto(tmp_path) as broker:
        entry = {"name": "lorawan", "url": broker.endpoint, "collection": collection}
        async with running(data, chirpstack={"brokers": [entry]}) as started:
            names: list[str] = []
            started.server.bus.listen(activities=lambda activity: names.append(activity.event.name))
            await until(lambda: "Sending SUBACK" in broker.log)
            await publish(broker, f"application/a/device/{EUI}/event/join", body("join"))
            await until(lambda: names == ["deviceCreated", "deviceJoined"])
            values = {each.name: each.value() for each in started.server.metrics() if hasattr(each, "value")}

            assert values["chirpstack_broker_connected"] == {"lorawan": 1.0}
            assert values["chirpstack_broker_messages"] == {"lorawan": 1}
            assert set(started.server.health().values()) == {"ok"}
        await until(lambda: "Received DISCONNECT" in broker.log)


async def test_one_of_several_nodes_reads_the_brokers_and_another_goes_on(
    tmp_path: Path, postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event is published once; with QoS 1 and a client id, also the one that comes while no node reads."""
    monkeypatch.setattr(leader, "_LOOK", 0.01)
    url, topic = await postgresql.new_schema(), f"application/a/device/{EUI}/event/status"
    async with fleet_node(url, tmp_path / "first") as fleet:
        collection = render((await fleet.collection()).id)
    async with mosquitto(tmp_path) as broker, nats_server(tmp_path) as nats, AsyncExitStack() as stack:
        entry = {"name": "lorawan", "url": broker.endpoint, "collection": collection, "client_id": "us"}
        brokers = ChirpstackConfig.model_validate({"brokers": [entry]})
        config = config_of(url, nats, tmp_path, role="devices", chirpstack=brokers)
        servers = [Server(config, data_dir=tmp_path / name) for name in ("one", "two")]
        await asyncio.gather(*(stack.enter_async_context(each) for each in servers))
        published: list[tuple[Server, str]] = []

        def note(server: Server, activity: Activity) -> None:
            published.append((server, activity.event.name))

        for each in servers:
            each.bus.listen(activities=partial(note, each))
        await until(lambda: "Sending SUBACK" in broker.log)
        await publish(broker, topic, body("status", deduplicationId="1"), "-q", "1")
        await until(lambda: "deviceStatus" in {name for _, name in published})
        reader = published[0][0]
        (other,) = {*servers} - {reader}
        await reader.__aexit__(None, None, None)
        await publish(broker, topic, body("status", deduplicationId="2"), "-q", "1")
        await until(lambda: other in {at for at, _ in published})

    assert "already connected" not in broker.log  # so the broker would tell two that read at one time
    assert published == [(reader, "deviceCreated"), (reader, "deviceStatus"), (other, "deviceStatus")]
