"""A whole server that subscribes at the broker of a ChirpStack server."""

from __future__ import annotations

from pathlib import Path

from span_events.ids import render
from tests.bench.peers.mosquitto import mosquitto, publish
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
