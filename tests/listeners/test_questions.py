"""Each listener has the registry asked once before it rejects a client that is unknown on this node."""

from __future__ import annotations

import time
from pathlib import Path

from span_events.ids import render
from span_events.wire.coap.messages import Code
from tests.bench.clock import ManualClock
from tests.bench.nodes import unknown_until_asked
from tests.bench.waiting import until
from tests.listeners.blobs.bench import blob_bench
from tests.listeners.coap.bench import coap_bench, post
from tests.listeners.dtls.bench import dtls_bench
from tests.listeners.gateways.bench import upstream
from tests.listeners.gateways.fleet import fleet_gateways
from tests.listeners.radius.bench import asking, radius_bench, reporting


async def test_a_datagram_waits_for_the_answer(tmp_path: Path) -> None:
    """Those that follow wait as well, and keep their order."""
    async with dtls_bench(tmp_path) as bench:
        device = await bench.fleet.device("127.0.0.1")
        async with unknown_until_asked(bench.fleet, device):
            client = bench.raw()
            for payload in (b"first", b"second"):
                client.send(payload)
            await until(lambda: len(bench.fleet.messages) == 2)

    assert [each.payload for each in bench.fleet.messages] == [b"first", b"second"]
    assert bench.fleet.names == ["clientConnected", "upstreamMessage", "upstreamMessage"]


async def test_an_unknown_address_is_rejected_after_the_answer(tmp_path: Path) -> None:
    """Once, with the usual event."""
    async with dtls_bench(tmp_path) as bench:
        async with unknown_until_asked(bench.fleet):
            bench.raw().send(b"hello")
            await until(lambda: bool(bench.fleet.activities))

        assert bench.fleet.drain()[0][1]["reason"] == "unknownAddress"


async def test_a_coap_request_waits_for_the_answer(tmp_path: Path) -> None:
    """Its device gets the usual response instead of 4.01."""
    async with coap_bench(tmp_path) as bench, unknown_until_asked(bench.fleet, bench.device):
        answer = await bench.client_at("127.0.0.1").exchange(post(b"hello"))

        assert answer.code == Code.CREATED


async def test_a_handshake_with_a_psk_waits_for_the_answer(tmp_path: Path) -> None:
    """Its question is asked at the hello, as the engine cannot wait for the key."""
    async with dtls_bench(tmp_path) as bench, unknown_until_asked(bench.fleet, bench.device):
        client = await bench.psk_client().connect()
        client.say(b"hello")
        await until(lambda: bool(bench.fleet.messages))

        assert bench.fleet.names == ["clientConnected", "upstreamMessage"]


async def test_a_handshake_with_a_certificate_waits_for_the_answer(tmp_path: Path) -> None:
    """Datagrams that come before it are processed in their order."""
    async with dtls_bench(tmp_path) as bench:
        record = bench.fleet.certificates.list(bench.device)[0]
        async with unknown_until_asked(bench.fleet, bench.device, record):
            client = await bench.client().connect()
            client.say(b"hello")
            await until(lambda: bool(bench.fleet.messages))

        assert bench.fleet.names == ["clientConnected", "upstreamMessage"]


async def test_a_handshake_of_an_unknown_client_fails_after_the_answer(tmp_path: Path) -> None:
    """As it does without other nodes."""
    async with dtls_bench(tmp_path) as bench, unknown_until_asked(bench.fleet):
        client = await bench.psk_client(b"nobody").connect()
        await until(lambda: bool(bench.fleet.activities))

        assert client.dtls.failure
        assert bench.fleet.drain()[0][1]["reason"] == "unknownPskIdentity"


async def test_a_record_without_a_session_waits_for_the_answer(tmp_path: Path) -> None:
    """Its rejection belongs to the device that has the address."""
    async with dtls_bench(tmp_path) as bench:
        device = await bench.fleet.device("127.0.0.1")
        async with unknown_until_asked(bench.fleet, device):
            bench.raw().send(bytes.fromhex("17fefd0001000000000001000401020304"))
            await until(lambda: bool(bench.fleet.activities))

        ((event,), (_, data)) = bench.fleet.events, bench.fleet.published[0]
        assert event.origin.device_id == device.id
        assert data["reason"] == "noSession"


async def test_a_gateway_waits_for_the_answer(tmp_path: Path) -> None:
    """Its messages that came meanwhile are not lost."""
    async with fleet_gateways(tmp_path) as bench:
        record = bench.fleet.certificates.list(bench.gateway)[0]
        async with unknown_until_asked(bench.fleet, record):
            gateway = await bench.raw().open()
            await gateway.send(upstream(b"hello", device_id=render(bench.device.id)))
            await until(lambda: bool(bench.fleet.messages))

        assert bench.fleet.names == ["gatewayConnected", "gatewayUpstreamMessage", "upstreamMessage"]


async def test_a_message_of_an_unknown_device_behind_a_gateway_waits_for_the_answer(tmp_path: Path) -> None:
    """It is passed on then, without a warning."""
    async with fleet_gateways(tmp_path) as bench:
        gateway = await bench.raw().serve()
        async with unknown_until_asked(bench.fleet, bench.device):
            await gateway.send(upstream(b"hello", device_id=render(bench.device.id)))
            await until(lambda: bool(bench.fleet.messages))

        assert bench.fleet.names == ["gatewayConnected", "gatewayUpstreamMessage", "upstreamMessage"]


async def test_an_unknown_gateway_is_rejected_after_the_answer(tmp_path: Path) -> None:
    """With the usual status on its stream."""
    async with fleet_gateways(tmp_path) as bench:
        bench.fleet.directory.remove_certificate(bench.fleet.certificates.list(bench.gateway)[0])
        async with unknown_until_asked(bench.fleet):
            await (await bench.raw().open()).refused()

        assert bench.fleet.drain()[0][1]["reason"] == "unknownSerial"


async def test_an_attach_request_waits_for_the_answer(tmp_path: Path) -> None:
    """A retransmission that comes meanwhile gets the same answer, and the device attaches once."""
    async with radius_bench(tmp_path) as bench, unknown_until_asked(bench.fleet, bench.device):
        client = bench.client()
        for _ in range(2):
            client.send(asking())
        answer = await client.receive()

        assert answer[0] == 2


async def test_an_accounting_record_waits_for_the_answer(tmp_path: Path) -> None:
    """The attachment is the device's from its start."""
    async with radius_bench(tmp_path) as bench, unknown_until_asked(bench.fleet, bench.device):
        client = bench.client(accounting=True)
        client.send(reporting(1))
        await client.receive()

        assert bench.fleet.names == ["ciotConnect"]


async def test_an_upload_waits_for_the_answer(tmp_path: Path) -> None:
    """Its client is known by its address."""
    async with blob_bench(tmp_path) as bench, unknown_until_asked(bench.fleet, bench.device):
        answer = await bench.curl("--data-binary", "octets")

    assert answer.status == 200


async def test_an_upload_with_a_certificate_waits_for_the_answer(tmp_path: Path) -> None:
    """Its client is known by the serial number."""
    async with blob_bench(tmp_path, clock=ManualClock(time.time_ns())) as bench:  # curl knows what day it is
        credentials = await bench.credentials()
        record = bench.fleet.directory.certificates[credentials.serial]
        async with unknown_until_asked(bench.fleet, record):
            answer = await bench.secure_curl("--data-binary", "octets", credentials=credentials)

    assert answer.status == 200
