"""Outputs to Debian's mosquitto."""

from __future__ import annotations

import asyncio
import socket
import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import orjson
import pytest
import uvloop

from span_events.errors import InvalidRequest
from span_events.ids import render
from span_events.registry.outputs import OutputType
from tests.bench.peers.mosquitto import Mosquitto, mosquitto, password_file, self_signed, subscribed
from tests.bench.waiting import until
from tests.outputs.conftest import OutputsBench, outputs_bench

CONNACK: Final = bytes.fromhex("20020000")


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A broker that runs."""
    async with mosquitto(tmp_path) as found:
        yield found


async def test_messages_go_to_a_broker_under_collection_and_device(bench: OutputsBench, broker: Mosquitto) -> None:
    await bench.add(OutputType.MQTT, endpoint=broker.endpoint)
    async with subscribed(broker, 25) as process:
        for number in range(25):
            bench.send(b"%d" % number)
        printed, _ = await process.communicate()
    lines = [line.split(b" ", 1) for line in printed.splitlines()]

    assert {topic.decode() for topic, _ in lines} == {f"{render(bench.collection.id)}/{render(bench.device.id)}"}
    assert [orjson.loads(payload)["payload"] for _, payload in lines] == [
        b64encode(b"%d" % number).decode() for number in range(25)
    ]


async def test_templates_make_topic_and_payload(bench: OutputsBench, broker: Mosquitto) -> None:
    await bench.add(
        OutputType.MQTT,
        endpoint=f"127.0.0.1:{broker.port}",
        topic_template=b64encode(b"a/{{device.deviceId}}/{{ message.transport }}{{ none }}").decode(),
        payload_template=b64encode(b'{"p": {{ message.payload | json }}}').decode(),
    )
    async with subscribed(broker, 1) as process:
        bench.send(b"hi")
        printed, _ = await process.communicate()

    assert printed.decode() == f'a/{render(bench.device.id)}/udp {{"p": "aGk="}}\n'


async def test_events_go_to_a_broker(bench: OutputsBench, broker: Mosquitto) -> None:
    await bench.add(OutputType.MQTT, endpoint=broker.endpoint, content="activity", topic_name="{{ event.event }}")
    async with subscribed(broker, 2) as process:
        bench.send()
        printed, _ = await process.communicate()

    assert [line.split()[0] for line in printed.splitlines()] == [b"clientConnected", b"upstreamMessage"]


async def test_events_go_to_a_broker_as_chirpstack_publishes_them(bench: OutputsBench, broker: Mosquitto) -> None:
    await bench.add(OutputType.MQTT, endpoint=broker.endpoint, content="activity", format="chirpstack")
    async with subscribed(broker, 2) as process:
        bench.send()
        printed, _ = await process.communicate()
    topic = printed.splitlines()[1].split()[0].decode()

    assert topic.startswith("application/")
    assert topic.endswith("/event/up")


async def test_a_broker_that_restarts_gets_what_came_meanwhile(bench: OutputsBench, broker: Mosquitto) -> None:
    output = await bench.add(OutputType.MQTT, endpoint=broker.endpoint)
    health = bench.fleet.outputs_health.of(output)
    bench.send()
    await until(lambda: health.forwarded == 1)
    await broker.stop()
    for _ in range(3):
        bench.send()
    failed = await bench.event("outputFailed")
    await broker.start()
    await bench.event("outputRecovered")
    await until(lambda: health.forwarded == 4)

    assert (failed["reason"], failed["target"]) == ("unreachable", broker.endpoint)
    assert broker.log.count("Received PUBLISH") == 3
    assert health.dropped == 0


def test_a_reset_connection_is_no_defect_on_uvloop(tmp_path: Path) -> None:
    """Its transport raises where asyncio's only warns: a broker that was killed cost messages."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def publish() -> None:
        async with outputs_bench(tmp_path) as bench, await asyncio.start_server(reset, "127.0.0.1", 0) as server:
            endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            output = await bench.add(OutputType.MQTT, endpoint=endpoint)
            health = bench.fleet.outputs_health.of(output)
            bench.send()
            await until(lambda: health.errors > 6)

            assert [each.message for each in health.log] == ["unreachable: Connection reset by peer"]
            assert health.dropped == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(publish())


async def test_a_publication_that_a_broker_never_takes_does_not_hold_up_the_rest(
    bench: OutputsBench, tmp_path: Path
) -> None:
    """Such as one over its limit: a broker of MQTT 3.1.1 can only close the connection."""
    async with mosquitto(tmp_path, "allow_anonymous true", "max_packet_size 2000") as broker:
        output = await bench.add(OutputType.MQTT, endpoint=broker.endpoint)
        health = bench.fleet.outputs_health.of(output)
        bench.send(bytes(5_000))
        failed = await bench.event("outputFailed")
        await until(lambda: health.dropped == 1)
        bench.send()
        await until(lambda: health.forwarded == 1)

    assert failed["reason"] == "targetFailed"
    assert failed["detail"].startswith("the broker closed the connection instead of acknowledging")
    assert health.errors == 5


async def test_of_publications_that_go_together_only_the_one_that_a_broker_never_takes_is_lost(
    bench: OutputsBench, tmp_path: Path
) -> None:
    async with mosquitto(tmp_path, "allow_anonymous true", "max_packet_size 2000") as broker:
        output = await bench.add(OutputType.MQTT, endpoint=broker.endpoint)
        health = bench.fleet.outputs_health.of(output)
        for size in (1, 2, 5_000, 3):
            bench.send(bytes(size))
        await until(lambda: health.forwarded == 3)

    assert health.dropped == 1
    assert broker.log.count("Received PUBLISH") <= 5, "two good ones come twice at most"


async def test_a_broker_that_closes_an_idle_connection_gets_the_next_message(bench: OutputsBench) -> None:
    """The message is published over a new connection."""
    published = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(CONNACK)
        published.append(await reader.read(65536))
        writer.write(bytes.fromhex("40020001"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        output = await bench.add(OutputType.MQTT, endpoint=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        health = bench.fleet.outputs_health.of(output)
        for _ in range(3):
            bench.send()
            await until(lambda: health.forwarded == health.received)

    assert len(published) == 3
    assert health.dropped == 0


async def test_a_template_that_makes_an_empty_topic_gives_the_usual_one(bench: OutputsBench, broker: Mosquitto) -> None:
    """No broker takes an empty topic: the messages of a device without the tag would hold up all others."""
    template = b64encode(b"{{ device.tags.room }}").decode()
    await bench.add(OutputType.MQTT, endpoint=broker.endpoint, topic_template=template)
    async with subscribed(broker, 1) as process:
        bench.send()
        printed, _ = await process.communicate()

    assert printed.split(b" ")[0].decode() == f"{render(bench.collection.id)}/{render(bench.device.id)}"


async def test_a_broker_that_refuses_the_password_is_told(bench: OutputsBench, tmp_path: Path) -> None:
    async with mosquitto(tmp_path, "allow_anonymous false", f"password_file {password_file(tmp_path)}") as broker:
        await bench.add(OutputType.MQTT, endpoint=broker.endpoint, username="me", password="wrong")
        bench.send()
        failed = await bench.event("outputFailed")
        output = await bench.add(OutputType.MQTT, endpoint=broker.endpoint, username="me", password="right")
        bench.send()
        await until(lambda: bench.fleet.outputs_health.of(output).forwarded == 1)

    assert (failed["reason"], failed["status"], failed["detail"]) == ("refused", "5", "not authorized")


async def test_a_certificate_is_verified_unless_that_is_switched_off(bench: OutputsBench, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    async with mosquitto(tmp_path, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}") as broker:
        endpoint = f"mqtts://localhost:{broker.port}"
        await bench.add(OutputType.MQTT, endpoint=endpoint)
        bench.send()
        failed = await bench.event("outputFailed")
        output = await bench.add(OutputType.MQTT, endpoint=endpoint, disable_cert_check=True)
        bench.send()
        await until(lambda: bench.fleet.outputs_health.of(output).forwarded == 1)

    assert failed["reason"] == "tlsFailed"
    assert "certificate verify failed" in failed["detail"]


async def test_a_private_broker_is_refused(tmp_path: Path, broker: Mosquitto) -> None:
    async with outputs_bench(tmp_path, allow_private=False) as bench:
        await bench.add(OutputType.MQTT, endpoint=f"localhost:{broker.port}")
        bench.send()
        failed = await bench.event("outputFailed")

    assert failed["reason"] == "privateTarget"
    assert "New connection" not in broker.log


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "config.endpoint"),
        ({"endpoint": "http://a"}, "config.endpoint"),
        ({"endpoint": "mqtt://a:b@c"}, "config.endpoint"),
        ({"endpoint": "mqtt://a:99999"}, "config.endpoint"),
        ({"endpoint": "a", "password": "b"}, "config.username"),
        ({"endpoint": "a", "topic_name": "b/#"}, "config.topicName"),
        ({"endpoint": "a", "topic_template": b64encode(b"\xff").decode()}, "config.topicTemplate"),
    ],
)
async def test_a_wrong_setting_is_named(bench: OutputsBench, config: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await bench.add(OutputType.MQTT, **config)

    assert caught.value.field == field
