"""Events of ChirpStack servers: which device they belong to, and what they become."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from google.protobuf.json_format import ParseDict

from span_events.dialects.chirpstack.encoding import MESSAGES
from span_events.dialects.chirpstack.rules import LOG_REASONS, Kind
from span_events.errors import InvalidRequest, NotFound
from span_events.events.activity import Severity, hint_of, severity_of
from span_events.events.reasons import NetworkLogReason
from span_events.fleet.chirpstack.intake import Outcome
from span_events.fleet.devices.devices import DeviceChange
from span_events.proto import chirpstack_pb2 as pb
from span_events.registry.model import Collection, Device
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.nodes import unknown_until_asked
from tests.bench.waiting import until
from tests.dialects.chirpstack.samples import EUI, SAMPLES, body

NETWORK_TIME: Final = "2026-03-02 07:15:04"


async def known(bench: FleetBench, eui: str = EUI) -> tuple[Collection, Device]:
    """Make a collection, and a device with an EUI-64."""
    collection = await bench.collection()
    device = await bench.devices.create(collection, DeviceChange(tags={"devEui": eui}), cause=CAUSE)
    bench.activities.clear()
    return collection, device


async def take(bench: FleetBench, collection: Collection, kind: str, octets: bytes | None = None) -> Outcome:
    """Take an event, a sample unless octets are given."""
    return await bench.chirpstack.take(
        collection,
        kind,
        body(kind) if octets is None else octets,
        content_type="",
        remote=("10.0.0.9", 4000),
        cause=CAUSE,
    )


EXPECTED: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "join": ("deviceJoined", {"devAddr": "0118a7c2"}),
    "ack": (
        "downstreamAck",
        {"state": "acknowledged", "queueItemId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1e001", "fCntDown": "6"},
    ),
    "txack": (
        "downstreamAck",
        {
            "state": "transmitted",
            "queueItemId": "5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1e001",
            "fCntDown": "6",
            "gateway": "70b3d5fffe000001",
        },
    ),
    "log": (
        "networkLog",
        {
            "reason": "uplinkMic",
            "code": "UPLINK_MIC",
            "description": "the check of the join-request failed",
            "context": "deduplication_id=5f4e4fc0-2a3f-4a68-9f0c-93a1a5f1d005",
        },
    ),
    "status": ("deviceStatus", {"margin": "-3", "battery": "41.5", "power": "battery"}),
    "location": (
        "deviceLocation",
        {"latitude": "63.438217", "longitude": "-8.5", "altitude": "2", "source": "GEO_RESOLVER_WIFI"},
    ),
    "integration": (
        "networkLog",
        {
            "reason": "integration",
            "description": "resolver: modem_report",
            "context": '{"pending":null,"voltage":3.04}',
        },
    ),
}


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_an_event_becomes_one_of_its_device(bench: FleetBench, kind: str, encoding: str) -> None:
    collection, device = await known(bench)
    octets = body(kind)
    if encoding == "protobuf":
        octets = ParseDict(SAMPLES[kind], MESSAGES[Kind(kind)]()).SerializeToString()

    assert await take(bench, collection, kind, octets) is Outcome.ACCEPTED
    name, data = EXPECTED[kind]
    assert bench.published == [(name, data | {"networkTime": NETWORK_TIME})]
    assert bench.events[0].origin == device.origin


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_an_uplink_is_a_message_with_the_networks_data(bench: FleetBench, encoding: str) -> None:
    """Of several gateways, the one with the best signal is shown."""
    collection, device = await known(bench)
    octets = body("up")
    if encoding == "protobuf":
        octets = ParseDict(SAMPLES["up"], pb.UplinkEvent()).SerializeToString()
    await take(bench, collection, "up", octets)

    (message,) = bench.messages
    assert (message.payload, message.origin) == (b"\x00\xffh", device.origin)
    assert dict(message.gateway_metadata) == {
        "fPort": "7",
        "fCnt": "41",
        "dr": "2",
        "devAddr": "0118a7c2",
        "gateways": "2",
        "gatewayId": "70b3d5fffe000002",
        "rssi": "-61",
        "snr": "9.25",
        "spreadingFactor": "10",
        "object": '{"level":1.82,"wet":true}',
    }
    (told,) = bench.published
    assert told[0] == "upstreamMessage"
    assert told[1]["radio"] == "port 7, counter 41, 2 gateways, -61 dBm, 9.25 dB, SF10"
    assert (told[1]["bytes"], told[1]["networkTime"]) == ("3", NETWORK_TIME)
    assert bench.reception.inbox.list(collection.id, limit=5) == [message]


async def test_an_unknown_device_is_created_once(bench: FleetBench) -> None:
    """Two events that come at once make one device, with the name that it has there."""
    collection = await bench.collection()
    await asyncio.gather(take(bench, collection, "join"), take(bench, collection, "up"))

    (device,) = bench.directory.devices_of(collection.id)
    assert device.tags == {"devEui": EUI, "name": "gauge 3"}
    assert bench.names == ["deviceCreated", "deviceJoined", "upstreamMessage"]


@pytest.mark.parametrize("bench", [{"chirpstack": {"create_devices": False}}], indirect=True)
async def test_an_unknown_device_is_refused_if_none_may_be_created(bench: FleetBench) -> None:
    """One event a window says so; once the tag is there, the same event is accepted."""
    collection = await bench.collection()
    bench.activities.clear()
    for _ in range(3):
        with pytest.raises(NotFound, match=EUI):
            await take(bench, collection, "up")
    (told,) = bench.drain()
    device = await bench.devices.create(collection, DeviceChange(), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(tags={"devEui": EUI.upper()}), cause=CAUSE)

    assert told[0] == "messageRejected"
    assert (told[1]["reason"], told[1]["detail"]) == ("unknownEui", f"devEui {EUI}")
    assert await take(bench, collection, "up") is Outcome.ACCEPTED


@pytest.mark.parametrize("bench", [{"chirpstack": {"max_devices": 1}}], indirect=True)
async def test_a_full_collection_gets_no_more_devices(bench: FleetBench) -> None:
    collection = await bench.collection()
    await bench.devices.create(collection, DeviceChange(), cause=CAUSE)
    bench.activities.clear()
    with pytest.raises(NotFound):
        await take(bench, collection, "up")

    assert bench.published[0][1]["detail"].endswith("the collection has 1 devices (chirpstack.max_devices)")


async def test_a_device_belongs_to_its_collection_only(bench: FleetBench) -> None:
    """Another collection with the same EUI-64 has a device of its own; a moved or removed one is no longer there."""
    first, device = await known(bench)
    second = await bench.collection()
    await take(bench, second, "join")
    (other,) = bench.directory.devices_of(second.id)
    await bench.devices.remove(other, cause=CAUSE)
    await bench.devices.update(device, DeviceChange(collection_id=second.id), cause=CAUSE)
    bench.activities.clear()
    await take(bench, second, "status")
    await take(bench, first, "status")

    assert bench.names == ["deviceStatus", "deviceCreated", "deviceStatus"]
    assert bench.events[0].origin == device.origin
    assert bench.events[1].origin.collection_id == first.id


async def test_an_event_that_comes_again_counts_once(bench: FleetBench) -> None:
    """Other kinds share its id; an ack and a nack, a txack and an ack are no duplicates of each other."""
    collection, _ = await known(bench)
    same = SAMPLES["up"]["deduplicationId"]
    shared = body("status", deduplicationId=same)
    nack = body("ack", acknowledged=False, deduplicationId="")
    outcomes = [
        await take(bench, collection, kind, octets)
        for kind, octets in (
            *(("up", None), ("status", shared), ("up", None), ("txack", None), ("txack", None)),
            *(("ack", nack), ("ack", nack), ("log", None), ("log", None), ("log", body("log", code="OTAA"))),
        )
    ]

    accepted = [index for index, each in enumerate(outcomes) if each is Outcome.ACCEPTED]
    assert accepted == [0, 1, 3, 5, 7, 9]
    bench.clock.shift(601)
    assert await take(bench, collection, "up") is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("code", "level", "reason", "severity"),
    [
        *((code, "ERROR", reason, reason.severity) for code, reason in LOG_REASONS.items()),
        ("UNKNOWN", "ERROR", NetworkLogReason.OTHER_ERROR, Severity.ERROR),
        ("NEW_IN_5", "WARNING", NetworkLogReason.OTHER_WARNING, Severity.WARNING),
        *((pb.LogCode.Value(code), 2, reason, reason.severity) for code, reason in LOG_REASONS.items()),
        ("6", "2", LOG_REASONS["UPLINK_MIC"], LOG_REASONS["UPLINK_MIC"].severity),
        (0, 2, NetworkLogReason.OTHER_ERROR, Severity.ERROR),
        (27, 1, NetworkLogReason.OTHER_WARNING, Severity.WARNING),
        (27, 0, NetworkLogReason.OTHER, Severity.INFO),
        (None, None, NetworkLogReason.OTHER, Severity.INFO),
    ],
)
async def test_every_log_code_has_a_reason_and_a_hint(
    bench: FleetBench, code: Any, level: Any, reason: NetworkLogReason, severity: Severity
) -> None:
    collection, _ = await known(bench)
    await take(bench, collection, "log", body("log", code=code, level=level))

    (event,) = bench.events
    assert getattr(event, "reason", None) is reason
    assert (hint_of(event), severity_of(event)) == (reason.hint, severity)
    assert len(LOG_REASONS) == len(pb.LogCode.items()) - 1


async def test_kinds_of_the_future_are_ignored(bench: FleetBench) -> None:
    collection, _ = await known(bench)

    assert await take(bench, collection, "linkcheck", b"whatever") is Outcome.IGNORED
    assert bench.published == []


@pytest.mark.parametrize(
    "octets",
    [
        *(b"", b"{", b"[1]", b"\x0a", b"{}", b"\xff" * 50, b'{"deviceInfo":null}', b'{"deviceInfo":{"devEui":7}}'),
        body("up", deviceInfo={"devEui": "70b3d57ed0001a2"}),
        body("up", data="%%%"),
        b'{"object":' * 5000,
    ],
)
async def test_a_body_that_is_none_is_refused_and_creates_nothing(bench: FleetBench, octets: bytes) -> None:
    collection = await bench.collection()
    bench.activities.clear()
    with pytest.raises(InvalidRequest):
        await take(bench, collection, "up", octets)

    assert bench.published == []
    assert bench.directory.device_count(collection.id) == 0


async def test_odd_values_read_as_defaults(bench: FleetBench) -> None:
    """Versions differ, and some consumers write events again: nulls, numbers as text, other offsets, old times."""
    collection, _ = await known(bench)
    odd = body("up", rxInfo=7, txInfo=[], object="text", fCnt="41", fPort=None, dr=True, data="AP9o_w")
    old = body("join", time="1980-01-06T05:30:00+05:30", devAddr=9)
    never = body("status", time="0001-01-01T00:00:00+05:30", margin="1e400", batteryLevel="full")
    for kind, octets in (("up", odd), ("join", old), ("status", never)):
        assert await take(bench, collection, kind, octets) is Outcome.ACCEPTED

    assert bench.published[0][1]["radio"] == "port 0, counter 41, 0 gateways"
    assert bench.messages[0].payload == b"\x00\xffh\xff"
    assert bench.published[1] == ("deviceJoined", {"networkTime": "1980-01-06 00:00:00"})
    assert bench.published[2] == ("deviceStatus", {"margin": "0", "battery": "0", "power": "battery"})


async def test_a_disabled_device_is_told_as_such(bench: FleetBench) -> None:
    collection, device = await known(bench)
    await bench.devices.update(device, DeviceChange(enabled=False), cause=CAUSE)
    bench.activities.clear()

    assert await take(bench, collection, "up") is Outcome.REJECTED
    assert bench.published[0][1]["reason"] == "deviceDisabled"


async def test_a_payload_over_the_limit_is_told_as_such(bench: FleetBench) -> None:
    collection, _ = await known(bench)

    assert await take(bench, collection, "up", body("up", data="AAAA" * 50)) is Outcome.REJECTED
    assert bench.published[0][1]["reason"] == "tooLarge"


async def test_two_nodes_that_hear_of_a_new_device_at_once_create_it_once(nodes: tuple[FleetBench, FleetBench]) -> None:
    """Its events may come to any node; both become the device's."""
    one, two = nodes
    collection = await one.collection()
    await until(lambda: collection.id in two.directory.collections)
    outcomes = await asyncio.gather(
        take(one, collection, "up"), take(two, two.directory.collections[collection.id], "join")
    )
    await until(lambda: bool(one.directory.devices) and one.directory.devices.keys() == two.directory.devices.keys())

    assert list(outcomes) == [Outcome.ACCEPTED] * 2
    assert len(one.directory.devices) == 1
    assert sorted(one.names + two.names) == ["deviceCreated", "deviceJoined", "upstreamMessage"]


async def test_an_event_of_a_device_that_another_node_made_waits_for_the_answer(bench: FleetBench) -> None:
    """Without creation of devices it would be rejected; with it, there would be two."""
    collection, device = await known(bench)
    async with unknown_until_asked(bench, device):
        outcome = await take(bench, collection, "up")

    assert outcome is Outcome.ACCEPTED
    assert list(bench.directory.devices) == [device.id]
