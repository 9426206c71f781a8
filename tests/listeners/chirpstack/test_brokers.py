"""Subscriptions at the brokers of ChirpStack servers: Debian's mosquitto, and brokers that misbehave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from google.protobuf.json_format import ParseDict
from structlog.testing import capture_logs

from span_events.clock import Clock, SystemClock
from span_events.config import ChirpstackConfig
from span_events.ids import render
from span_events.listeners.chirpstack import brokers
from span_events.listeners.chirpstack.brokers import Brokers
from span_events.listeners.chirpstack.topics import Topic, topic_of
from span_events.proto import chirpstack_pb2 as pb
from span_events.registry.model import Collection
from span_events.wire.mqtt.publishing import publication
from tests.bench.certificates import Holder
from tests.bench.clock import START_NS, ManualClock, settle
from tests.bench.fleets import FleetBench, fleet_bench
from tests.bench.peers.mosquitto import Mosquitto, mosquitto, password_file, publish
from tests.bench.waiting import until
from tests.dialects.chirpstack.samples import EUI, SAMPLES, body

APPLICATION: Final = "b1a9a0a4-2f0e-4a53-9a53-5c0d53f5a002"
CONNACK: Final = bytes.fromhex("20020000")
SUBACK: Final = bytes.fromhex("9003000101")


def topic(kind: str, eui: str = EUI) -> str:
    """Return the topic of an event."""
    return f"application/{APPLICATION}/device/{eui}/event/{kind}"


class Bench:
    """A fleet with a collection, and the brokers of a configuration."""

    def __init__(self, fleet: FleetBench, collection: Collection, found: Brokers) -> None:
        self.fleet = fleet
        self.collection = collection
        self.brokers = found

    def metric(self, name: str) -> dict[str, float]:
        """Return a metric by its label."""
        value = next(each.value() for each in self.brokers.metrics() if each.name == f"chirpstack_broker_{name}")
        assert isinstance(value, dict)
        return value

    @property
    def is_connected(self) -> bool:
        """True while all subscriptions stand."""
        return all(self.metric("connected").values())

    async def named(self, *names: str) -> None:
        """Wait for the events of these names, the last published."""
        await until(lambda: self.fleet.names[-len(names) :] == list(names))


@asynccontextmanager
async def subscribed(
    folder: Path, *entries: dict[str, Any], clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Bench]:
    """Run the brokers of some tables, with quick pauses."""
    later = ManualClock(START_NS + 3_600_000_000_000)  # ids other than those of a fleet beside it
    async with fleet_bench(folder, clock=later) as fleet:
        collection = await fleet.collection()
        tables = [
            {"name": f"broker {number}", "collection": render(collection.id)} | each
            for number, each in enumerate(entries)
        ]
        pauses = {"first_pause": 0.01, "longest_pause": 0.05}
        config = ChirpstackConfig.model_validate({"brokers": tables} | pauses | settings)
        found = Brokers(config, bus=fleet.bus, fleet=fleet, clock=clock or SystemClock())
        task = asyncio.create_task(found.run())
        try:
            yield Bench(fleet, collection, found)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait((task,))


@asynccontextmanager
async def misbehaving(
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve a broker of our own making; yield its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behave(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A broker that runs."""
    async with mosquitto(tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("application/a/device/b/event/up", Topic("b", "up")),
        ("eu868/site/application/a/device/b/event/up", Topic("b", "up")),
        ("application/a/device/b/command/down", None),
        ("application/a/device/b/event", None),
        ("eu868/gateway/a/event/up", None),
    ],
)
def test_a_topic_may_have_a_prefix(text: str, expected: Topic | None) -> None:
    assert topic_of(text) == expected


async def test_events_of_both_layouts_and_encodings_become_ours(tmp_path: Path, broker: Mosquitto) -> None:
    """A retained event is one like others; the topic names the device if the body does not."""
    topics = ["application/+/device/+/event/+", "eu868/#"]
    async with subscribed(tmp_path, {"url": broker.endpoint, "topics": topics}) as bench:
        await until(lambda: bench.is_connected)
        await publish(broker, topic("join"), body("join"), "-r")
        await publish(broker, f"eu868/{topic('up')}", ParseDict(SAMPLES["up"], pb.UplinkEvent()).SerializeToString())
        await publish(broker, topic("status"), b'{"margin":7}', "-q", "1")
        await bench.named("deviceCreated", "deviceJoined", "upstreamMessage", "deviceStatus")
        await until(lambda: "Received PUBACK" in broker.log)

        assert bench.fleet.messages[0].payload == b"\x00\xffh"
        assert bench.fleet.published[-1][1]["margin"] == "7"
        assert bench.metric("messages") == {"broker 0": 3}


async def test_a_restart_of_the_broker_is_survived(tmp_path: Path, broker: Mosquitto) -> None:
    """One line of the log for each loss and each connection, however many attempts there are."""
    with capture_logs() as lines:
        async with subscribed(tmp_path, {"url": broker.endpoint}) as bench:
            for number in range(2):
                await until(lambda: bench.is_connected)
                await publish(broker, topic("status"), body("status", deduplicationId=str(number)))
                await bench.named("deviceStatus")
                bench.fleet.activities.clear()
                await broker.stop()
                failures = bench.metric("failures")["broker 0"] + 2
                await until(lambda: bench.metric("failures")["broker 0"] > failures)  # noqa: B023
                await broker.start()
            await until(lambda: bench.is_connected)

    told = [(each["event"], each.get("why", "")) for each in lines]
    lost = ("chirpstack_broker_lost", "the broker closed the connection")
    refused = [each for each in told if each[1] == "Connection refused"]
    assert told.count(("chirpstack_broker_connected", "")) == 3
    assert told.count(lost) == len(refused) == 2


async def test_with_a_client_id_events_of_qos_1_wait_in_the_broker(tmp_path: Path, broker: Mosquitto) -> None:
    entry = {"url": broker.endpoint, "client_id": "us"}
    async with subscribed(tmp_path, entry) as bench:
        await until(lambda: bench.is_connected)
    await publish(broker, topic("join"), body("join"), "-q", "1")
    async with subscribed(tmp_path, entry) as bench:
        await bench.named("deviceCreated", "deviceJoined")


async def test_a_wrong_password_is_told_and_a_right_one_works(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    async with mosquitto(tmp_path, "allow_anonymous false", f"password_file {password_file(tmp_path)}") as broker:
        wrong = {"url": broker.endpoint, "username": "me", "password": "wrong"}
        right = {"url": broker.endpoint, "username": "me", "password_file": str(secret)}
        with capture_logs() as lines:
            async with subscribed(tmp_path, wrong, right) as bench:
                await until(lambda: bench.metric("connected") == {"broker 0": 0, "broker 1": 1})
                await until(lambda: bench.metric("failures")["broker 0"] > 1)

    (lost,) = (each for each in lines if each["event"] == "chirpstack_broker_lost")
    assert lost["why"] == "the broker refuses the connection: not authorized"
    assert lost["url"] == broker.endpoint


async def test_certificates_are_verified_in_both_directions(tmp_path: Path) -> None:
    root, other = Holder.root(), Holder.root("other")
    files = {}
    for name, holder in {"server": root.leaf("localhost", server=True), "client": root.leaf("us")}.items():
        files[name] = tmp_path / f"{name}.pem"
        files[name].write_bytes(holder.pem + holder.key_pem)
    for name, holder in {"ca": root, "other": other}.items():
        files[name] = tmp_path / f"{name}.pem"
        files[name].write_bytes(holder.pem)
    settings = [f"certfile {files['server']}", f"keyfile {files['server']}", f"cafile {files['ca']}"]
    async with mosquitto(tmp_path, "allow_anonymous true", "require_certificate true", *settings) as broker:
        entry = {"url": f"mqtts://localhost:{broker.port}"}
        certificate, ca = str(files["client"]), str(files["ca"])
        with capture_logs() as lines:
            async with subscribed(
                tmp_path,
                entry | {"ca": ca, "certificate": certificate},
                entry | {"ca": str(files["other"]), "certificate": certificate},
                entry | {"ca": ca},
                entry | {"ca": ca, "url": f"mqtts://127.0.0.1:{broker.port}"},
                entry | {"ca": str(tmp_path / "nowhere")},
            ) as bench:
                await until(lambda: bench.metric("connected")["broker 0"] == 1)
                await until(lambda: all(bench.metric("failures")[f"broker {number}"] for number in range(1, 5)))

    why = {each["broker"]: each["why"] for each in lines if each["event"] == "chirpstack_broker_lost"}
    assert "certificate verify failed" in why["broker 1"]
    assert why["broker 2"]
    assert "IP address mismatch" in why["broker 3"]
    assert why["broker 4"] == "No such file or directory"


async def test_what_cannot_be_an_event_is_counted_and_the_next_one_is_taken(tmp_path: Path, broker: Mosquitto) -> None:
    """One line a minute of the log for each cause."""
    with capture_logs() as lines:
        async with subscribed(tmp_path, {"url": broker.endpoint, "topics": ["#"]}, max_event=2_000) as bench:
            await until(lambda: bench.is_connected)
            for _ in range(2):
                await publish(broker, "gateway/a/event/up", b"{}")
                await publish(broker, topic("up"), b"not an event")
                await publish(broker, topic("up", "70b3d57ed0001a2c"), body("up"))
                await publish(broker, topic("up"), bytes(9_000), "-q", "1")
            await publish(broker, topic("linkcheck"), b"?")
            await publish(broker, topic("join"), body("join"), "-q", "1")
            await bench.named("deviceCreated", "deviceJoined")

            assert bench.metric("refused") == {"topic": 2, "invalid_request": 4, "tooLarge": 2}
            assert bench.metric("messages") == {"broker 0": 10}
    assert len([each for each in lines if each["event"] == "chirpstack_event_refused"]) == 3


async def test_a_removed_collection_ends_the_subscription(tmp_path: Path, broker: Mosquitto) -> None:
    with capture_logs() as lines:
        async with subscribed(tmp_path, {"url": broker.endpoint}) as bench:
            await until(lambda: bench.is_connected)
            await bench.fleet.collections.remove(bench.collection)
            await publish(broker, topic("join"), body("join"))
            await until(lambda: not bench.is_connected)

    assert lines[-1]["why"].startswith(f"there is no collection {render(bench.collection.id)}")


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no answer of a broker"),
        (CONNACK + bytes.fromhex("9003000180"), "the broker refuses the topic application/+/device/+/event/+"),
        (CONNACK + SUBACK + b"\x30\xff\xff\xff\xff\xff", "over 4 octets"),
        (CONNACK + SUBACK + bytes.fromhex("3003000561"), "ends behind the packet"),
    ],
)
async def test_odd_answers_end_the_connection_only(tmp_path: Path, octets: bytes, why: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(octets)
        await reader.read()

    with capture_logs() as lines:
        async with misbehaving(answer) as url, subscribed(tmp_path, {"url": url}) as bench:
            await until(lambda: bench.metric("failures")["broker 0"] > 2)

    assert any(why in each.get("why", "") for each in lines)


async def test_a_defect_and_an_impossible_name_end_no_other_subscription(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"url": broker.endpoint}, {"url": f"mqtt://{'a' * 70}.example"}
    with capture_logs() as lines:
        async with subscribed(tmp_path, *entries) as bench:
            await until(lambda: bench.metric("connected")["broker 0"] == 1 and bench.metric("failures")["broker 1"] > 0)
            with monkeypatch.context() as patch:
                patch.setattr(bench.fleet.chirpstack, "take", None)
                await publish(broker, topic("join"), body("join"))
                await until(lambda: bench.metric("failures")["broker 0"] == 1)
            await until(lambda: bench.metric("connected")["broker 0"] == 1)
            await publish(broker, topic("join"), body("join"))
            await bench.named("deviceCreated", "deviceJoined")

    assert [each["broker"] for each in lines if each["event"] == "chirpstack_broker_defect"] == ["broker 0"]


@pytest.mark.parametrize("octets", [b"", CONNACK, CONNACK + SUBACK])
async def test_a_broker_that_falls_silent_is_given_up(
    tmp_path: Path, octets: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pings are sent, and are not answered."""
    monkeypatch.setattr(brokers, "_CONNECT_TIMEOUT", 0.1)
    heard = bytearray()

    async def fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(octets)
        while more := await reader.read(100):
            heard.extend(more)

    with capture_logs() as lines:
        async with misbehaving(fall_silent) as url, subscribed(tmp_path, {"url": url}, keep_alive=0.1) as bench:
            await until(lambda: bench.metric("failures")["broker 0"] > 1)
            await until(lambda: octets != CONNACK + SUBACK or b"\xc0\0" in heard)

    assert lines[-1]["why"] == "no answer in time"


def test_a_reset_connection_is_no_defect_on_uvloop(tmp_path: Path) -> None:
    """Its transport raises where asyncio's only warns."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def read() -> None:
        async with misbehaving(reset) as url, subscribed(tmp_path, {"url": url}) as bench:
            await until(lambda: bench.metric("failures")["broker 0"] > 1)

    with capture_logs() as lines, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(read())

    assert [each["why"] for each in lines if each["event"].startswith("chirpstack_broker")] == [
        "Connection reset by peer"
    ]


async def test_a_flood_of_a_broker_waits_there(tmp_path: Path) -> None:
    """Not faster than broker_rate, while other tasks run; the rest is in the sockets, and then in the broker."""
    writers: list[asyncio.StreamWriter] = []
    octets = publication(topic("up"), b"{", 1) * 100

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(CONNACK + SUBACK)
        while True:
            writer.write(octets)
            await writer.drain()

    clock = ManualClock()
    async with misbehaving(flood) as url, subscribed(tmp_path, {"url": url}, clock=clock, broker_rate=100.0) as bench:
        await until(lambda: bool(writers) and writers[0].transport.get_write_buffer_size() > 1 << 16)
        await until(lambda: bench.metric("messages")["broker 0"] >= 15)
        for _ in range(20):
            await clock.advance(0.05)
        await settle()

        assert 100 < bench.metric("messages")["broker 0"] <= 122
