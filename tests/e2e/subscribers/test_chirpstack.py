"""ChirpStack's events in both directions, with the programs of operators: curl, tail, mosquitto."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from span_events.events.catalogue import UpstreamMessage
from span_events.registry.outputs import OutputType
from tests.bench.live import LiveServer
from tests.bench.peers.mosquitto import mosquitto
from tests.bench.programs import PROGRAM, Program, run
from tests.bench.waiting import until
from tests.dialects.chirpstack.samples import EUI, SAMPLES
from tests.listeners.chirpstack.test_brokers import subscribed
from tests.outputs.conftest import outputs_bench

OURS: Final = {
    "join": "deviceJoined",
    "up": "upstreamMessage",
    "status": "deviceStatus",
    "ack": "downstreamAck",
    "txack": "downstreamAck",
    "log": "networkLog",
    "location": "deviceLocation",
    "integration": "networkLog",
}


async def test_events_posted_with_curl_appear_in_tail_with_a_hint_where_they_are_errors(server: LiveServer) -> None:
    """One of each type, with names of headers as ChirpStack writes them, and a parameter event of the user's own."""
    collection = await server.add_collection()
    url = f"http://{server.addresses['http']}/span/collections/{collection}/chirpstack?event=zzz&k=1"
    headers = ("-H", "content-type: application/json", "-H", f"x-api-token: {server.token}")
    environment = {"SPAN_API_ENDPOINT": f"http://{server.addresses['http']}", "SPAN_API_TOKEN": server.token}
    for kind in OURS:
        posted = await run("curl", "-sf", f"{url}&event={kind}", *headers, "-d", json.dumps(SAMPLES[kind]))
        assert (posted.status, json.loads(posted.output)) == (0, {"result": "accepted"})
    events: list[dict[str, str]] = []
    async with Program(
        PROGRAM, "tail", "-c", collection, "-n", "20", "--json", "--extended", environment=environment
    ) as tail:
        while len(events) < 1 + len(OURS):
            event = json.loads(await tail.line())
            if "event" in event:
                events.append(event)
    async with Program(PROGRAM, "tail", "-c", collection, "-n", "20", "-s", "error", environment=environment) as tail:
        error = await tail.line()
        hint = await tail.line()
    (device,) = (await server.call("GET", f"/span/collections/{collection}/devices"))["devices"]

    assert [each["event"] for each in events] == ["deviceCreated", *OURS.values()]
    assert {each["deviceId"] for each in events} == {device["deviceId"]}
    assert device["tags"]["devEui"] == EUI
    assert "networkLog" in error
    assert "uplinkMic" in error
    assert "joins with another key" in hint


@pytest.mark.parametrize("form", ["chirpstack", "chirpstack-protobuf"])
async def test_events_travel_from_one_server_to_another_through_mosquitto(tmp_path: Path, form: str) -> None:
    """An mqttclient output publishes them, and the other server takes them from the same broker."""
    for name in ("from", "to", "broker"):
        (tmp_path / name).mkdir()
    async with (
        mosquitto(tmp_path / "broker") as broker,
        outputs_bench(tmp_path / "from") as sender,
        subscribed(tmp_path / "to", {"url": broker.endpoint}) as receiver,
    ):
        await until(lambda: receiver.is_connected)
        await sender.add(OutputType.MQTT, endpoint=broker.endpoint, content="activity", format=form)
        sender.send(b"one")
        await until(lambda: len(receiver.fleet.messages) == 1)
        await broker.restart()
        await until(lambda: receiver.metric("failures")["broker 0"] > 0 and receiver.is_connected)
        sender.send(b"two")
        await until(lambda: len(receiver.fleet.messages) == 2)
        sent = [each for each in sender.fleet.activities if isinstance(each.event, UpstreamMessage)]

        assert [each.payload for each in receiver.fleet.messages] == [b"one", b"two"]
        times = [
            each.event.network_time for each in receiver.fleet.activities if isinstance(each.event, UpstreamMessage)
        ]
        assert times == [each.time_ns // 1_000_000 for each in sent]
