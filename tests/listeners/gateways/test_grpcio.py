"""Gateways on unmodified grpcio over a real fleet, from the certificate to the events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from span_events.errors import NotFound
from span_events.events.activity import UNATTRIBUTED
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import render
from span_events.proto.gateway_pb2 import (
    ConfigRequest,
    ControlStreamRequest,
    ControlStreamResponse,
    DeviceUpdate,
    Keepalive,
    UpstreamMessage,
)
from tests.bench.certificates import Holder
from tests.bench.fleets import CAUSE
from tests.bench.waiting import until
from tests.listeners.gateways.fleet import Call, Files, FleetGateways, fleet_gateways

CONFIG_REQUEST = ControlStreamRequest(config=ConfigRequest())
KEEPALIVE = ControlStreamRequest(keepalive=Keepalive())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[FleetGateways]:
    """A listener with default settings, a gateway, and a device behind it."""
    async with fleet_gateways(tmp_path) as opened:
        yield opened


async def read(call: Call) -> ControlStreamResponse:
    """Read a message; there must be one."""
    message = await call.read()
    assert isinstance(message, ControlStreamResponse), "the stream has ended"
    return message


async def configured(bench: FleetGateways) -> Call:
    """Open a stream and request the configuration."""
    call = bench.call()
    await call.write(CONFIG_REQUEST)
    await read(call)
    await read(call)
    bench.fleet.activities.clear()
    return call


def upstream(bench: FleetGateways, payload: bytes) -> ControlStreamRequest:
    """Encode a message of the device."""
    message = UpstreamMessage(device_id=render(bench.device.id), payload=payload, metadata={"rssi": "-80"})
    return ControlStreamRequest(upstream_message=message)


async def test_a_session_from_the_first_message_to_the_last(bench: FleetGateways) -> None:
    """The events come in order with the right ids; the gateway trusts cert.crt only."""
    call, device = bench.call(), render(bench.device.id)
    await call.write(CONFIG_REQUEST)
    first, second = await read(call), await read(call)
    update = DeviceUpdate(device_id=device, config={"devEui": "01", "fCntUp": "99"})
    await call.write(ControlStreamRequest(device_update=update))
    await call.write(upstream(bench, b"up"))
    await until(lambda: bool(bench.fleet.messages))
    await bench.fleet.outbox.queue(bench.device, b"down", cause=CAUSE)
    third = await read(call)
    await call.done_writing()
    status = await call.code()
    events = [(each.name, each.origin.device_id, each.origin.gateway_id) for each in bench.fleet.events]

    assert (first.gateway_update.gateway_id, dict(first.gateway_update.config)) == (
        render(bench.gateway.id),
        {"band": "868"},
    )
    assert (second.device_update.device_id, dict(second.device_update.config)) == (device, {"devEui": "01"})
    assert (third.downstream_message.device_id, third.downstream_message.payload) == (device, b"down")
    assert status is grpc.StatusCode.OK
    gateway_id, device_id = bench.gateway.id, bench.device.id
    assert events == [
        ("gatewayConnected", None, gateway_id),
        ("gatewayConfigUpdate", None, gateway_id),
        ("gatewayDeviceUpdate", device_id, gateway_id),
        ("gatewayDeviceUpdate", device_id, gateway_id),
        ("gatewayUpstreamMessage", device_id, gateway_id),
        ("upstreamMessage", device_id, gateway_id),
        ("downstreamQueued", device_id, None),
        ("gatewayDownstreamMessage", device_id, gateway_id),
        ("downstreamMessage", device_id, gateway_id),
        ("gatewayDisconnected", None, gateway_id),
    ]
    assert bench.device.config.gateways[gateway_id] == {"devEui": "01", "fCntUp": "99"}


async def test_events_describe_a_connection_and_its_end(bench: FleetGateways) -> None:
    """Gateway, address, certificate, and the reason of the end."""
    call = await configured(bench)
    await call.write(KEEPALIVE)
    await read(call)
    await call.done_writing()
    await call.code()
    ((name, data),) = await bench.published(1)

    assert name == "gatewayDisconnected"
    assert (data["reason"], data["messagesUp"], data["messagesDown"], data["undelivered"]) == ("closed", "2", "3", "0")


async def test_a_connection_event_names_tls_version_and_user_agent(bench: FleetGateways) -> None:
    call = bench.call()
    await call.write(KEEPALIVE)
    await read(call)
    ((name, data),) = await bench.published(1)

    assert name == "gatewayConnected"
    assert (data["certificateSerial"], data["tlsVersion"]) == (bench.serial, "TLSv1.3")
    assert data["userAgent"].startswith("grpc-python-asyncio/")
    assert data["remoteAddress"].startswith("127.0.0.1:")


async def test_changes_of_the_api_are_pushed(bench: FleetGateways) -> None:
    """A new, a changed, and a removed device."""
    call = await configured(bench)
    new = await bench.device_behind(bench.gateway)
    created = await read(call)
    change = DeviceChange(gateways={bench.gateway.id: {"devEui": "02"}})
    await bench.fleet.devices.update(bench.device, change, cause=CAUSE)
    updated = await read(call)
    await bench.fleet.devices.remove(new, cause=CAUSE)
    removed = await read(call)

    assert created.device_update.device_id == render(new.id)
    assert dict(updated.device_update.config) == {"devEui": "02"}
    assert removed.device_removed.device_id == render(new.id)


async def test_messages_of_every_size_go_both_ways(bench: FleetGateways) -> None:
    """Sizes reach the limit of messages, beyond HTTP/2's frames and windows."""
    call = await configured(bench)
    sizes = [0, 1, 5_000, 16_384] * 5
    for size in sizes:
        await call.write(upstream(bench, bytes(size)))
        await bench.fleet.outbox.queue(bench.device, bytes(min(size, 4_096)), cause=CAUSE)
    await until(lambda: len(bench.fleet.messages) == len(sizes))
    received = [len((await read(call)).downstream_message.payload) for _ in sizes]

    assert [len(each.payload) for each in bench.fleet.messages] == sizes
    assert received == [min(size, 4_096) for size in sizes]


async def test_the_configurations_of_many_devices_are_all_sent(tmp_path: Path) -> None:
    """The configurations exceed the queue."""
    async with fleet_gateways(tmp_path, queue_messages=5) as small:
        for _ in range(40):
            await small.device_behind(small.gateway)
        call = small.call()
        await call.write(CONFIG_REQUEST)
        told = [await read(call) for _ in range(42)]

        kinds = [each.WhichOneof("msg") for each in told]
        assert kinds == ["gateway_update"] + ["device_update"] * 41


async def refused(call: Call) -> tuple[grpc.StatusCode, str]:
    """Wait for the end of a call."""
    return await call.code(), await call.details() or ""


async def test_a_compressed_message_is_refused(bench: FleetGateways) -> None:
    """The channel uses gzip."""
    call = bench.call(bench.channel(compression=grpc.Compression.Gzip))
    await call.write(upstream(bench, bytes(1_000)))

    assert await refused(call) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "compression is not supported: a message is compressed",
    )


async def test_the_certificate_of_a_device_is_rejected_with_a_status(bench: FleetGateways) -> None:
    """The library shows the status to the gateway's operator; the event belongs to the device."""
    call = bench.call(bench.channel(await bench.certificate(bench.device)))
    status, text = await refused(call)
    ((name, data),) = await bench.published(1)

    assert (status, text.partition(": ")[2][:40]) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "notAGateway: The certificate belongs to ",
    )
    assert (name, data["reason"]) == ("gatewayRejected", "notAGateway")
    assert bench.fleet.activities == []


async def test_an_expired_certificate_is_attributed_to_its_gateway(bench: FleetGateways) -> None:
    """The key is proven, and our intermediate has signed the certificate."""
    bench.fleet.clock.shift(15 * 86_400)
    call = bench.call()
    status, text = await refused(call)
    (event,) = bench.fleet.events
    ((_, data),) = bench.fleet.published

    assert (status, text.partition(": ")[2][:18]) == (grpc.StatusCode.UNAUTHENTICATED, "certificateExpired")
    assert event.origin == bench.gateway.origin
    assert (data["reason"], data["certificateSerial"]) == ("certificateExpired", bench.serial)


async def test_a_foreign_certificate_is_attributed_to_no_owner(bench: FleetGateways) -> None:
    """The serial number equals that of one of our certificates."""
    stranger = Holder.root("other").leaf(serial=int(bench.serial))
    files = Files(stranger.key_pem, stranger.pem)
    status, _ = await refused(bench.call(bench.channel(files, roots=bench.files.certificates)))
    (event,) = bench.fleet.events
    ((name, data),) = bench.fleet.published

    assert status is grpc.StatusCode.UNAUTHENTICATED
    assert (name, data["reason"], event.origin) == ("gatewayRejected", "unknownCa", UNATTRIBUTED)
    assert (data["certificateSerial"], data["certificateIssuer"]) == (bench.serial, "CN=other")


async def test_a_revoked_certificate_ends_the_stream_and_opens_no_other(bench: FleetGateways) -> None:
    call = await configured(bench)
    await bench.fleet.certificates.revoke(bench.collection, int(bench.serial))
    ended = await refused(call)
    again = await refused(bench.call())

    assert ended == (grpc.StatusCode.UNAUTHENTICATED, "the client certificate was revoked")
    assert again[0] is grpc.StatusCode.UNAUTHENTICATED
    assert [data["reason"] for _, data in bench.fleet.published] == ["certificateRevoked", "certificateRevoked"]


async def test_a_removed_gateway_gets_the_reason(bench: FleetGateways) -> None:
    call = await configured(bench)
    await bench.fleet.gateways.remove(bench.gateway, cause=CAUSE)

    assert await refused(call) == (grpc.StatusCode.NOT_FOUND, "the gateway was removed")
    with pytest.raises(NotFound):
        bench.fleet.directory.gateway(bench.collection.id, bench.gateway.id)


async def test_a_newer_connection_replaces_an_older(bench: FleetGateways) -> None:
    first = await configured(bench)
    second = bench.call()
    await second.write(KEEPALIVE)
    await read(second)

    assert await refused(first) == (grpc.StatusCode.ABORTED, "replaced by a newer connection")
    assert [name for name, _ in bench.fleet.published] == ["gatewayDisconnected", "gatewayConnected"]
    assert bench.gateway.is_online


async def test_a_gateway_gets_the_reason_when_the_server_stops(bench: FleetGateways) -> None:
    call = await configured(bench)
    await bench.listener.stop()

    assert await refused(call) == (grpc.StatusCode.UNAVAILABLE, "server shutting down, reconnect")
    assert [data["reason"] for _, data in bench.fleet.published] == ["shutdown"]


async def test_a_cancelled_call_is_reported_as_cancelled(bench: FleetGateways) -> None:
    """RST_STREAM CANCEL."""
    call = await configured(bench)
    call.cancel()

    assert [data["reason"] for _, data in await bench.published(1)] == ["cancelled"]


async def test_a_gateway_that_trusts_another_root_is_reported(bench: FleetGateways) -> None:
    """The library grpcio only closes the connection; the rejection names the most likely cause."""
    call = bench.call(bench.channel(roots=Holder.root("another").pem))
    await call.code()
    ((name, data),) = await bench.published(1)

    assert (name, data["reason"], data["stage"]) == ("gatewayRejected", "tlsAborted", "tls")
    assert data["detail"].endswith(" after this server had shown its certificate: perhaps it is not trusted")
