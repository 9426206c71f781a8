"""Plain UDP: a datagram is an upstream message, and a waiting downstream message is sent back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from span_events.config import DatagramsConfig
from span_events.errors import ListenerUnavailable
from span_events.fleet.devices.devices import DeviceChange
from span_events.listeners.datagrams import Datagrams
from span_events.listeners.udp import UdpSocket
from span_events.net import bind
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench
from tests.bench.nodes import slow_claims
from tests.bench.waiting import PATIENCE, until


class Bench:
    """A listener, its fleet, and a client socket."""

    def __init__(self, fleet: FleetBench, listener: Datagrams) -> None:
        self.fleet = fleet
        self.listener = listener
        host, _, port = listener.address.rpartition(":")
        self.target = (host.strip("[]"), int(port))

    def client(self, address: str = "127.0.0.1") -> socket.socket:
        """Open a socket that sends from an address."""
        opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((address, 0))
        opened.setblocking(False)
        return opened


@asynccontextmanager
async def listening(folder: Path, **settings: Any) -> AsyncIterator[Bench]:
    """Start a listener on a free port with a real fleet."""
    async with fleet_bench(folder) as fleet:
        listener = Datagrams(DatagramsConfig(port=0, **settings), reception=fleet.reception, outbox=fleet.outbox)
        await listener.start()
        try:
            yield Bench(fleet, listener)
        finally:
            await listener.stop()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Start a listener with default settings."""
    async with listening(tmp_path) as opened:
        yield opened


async def test_a_datagram_is_a_message_with_its_ports(bench: Bench) -> None:
    """The payload may have any octets, or none."""
    device = await bench.fleet.device("127.0.0.1")
    with closing(bench.client()) as client:
        for payload in (b"\x00\xff", b""):
            client.sendto(payload, bench.target)
        await until(lambda: len(bench.fleet.messages) == 2)
        first, second = bench.fleet.messages

        assert (first.payload, second.payload) == (b"\x00\xff", b"")
        assert (first.remote_port, first.local_port) == (client.getsockname()[1], bench.target[1])
        assert bench.fleet.names == ["clientConnected", "upstreamMessage", "upstreamMessage"]
        assert {each.origin for each in bench.fleet.events} == {device.origin}


async def test_each_datagram_is_answered_with_one_waiting_message(bench: Bench) -> None:
    """Each upstream message is answered with one, whose correlation id is that of the upstream message."""
    device = await bench.fleet.device("127.0.0.1")
    for payload in (b"one", b"two"):
        await bench.fleet.outbox.queue(device, payload, cause=CAUSE)
    bench.fleet.activities.clear()
    loop = asyncio.get_running_loop()
    with closing(bench.client()) as client:
        answers = []
        for _ in range(2):
            client.sendto(b"ping", bench.target)
            answers.append(await asyncio.wait_for(loop.sock_recv(client, 99), PATIENCE))

    assert answers == [b"one", b"two"]
    assert bench.fleet.names == [
        "clientConnected",
        "upstreamMessage",
        "downstreamMessage",
        "upstreamMessage",
        "downstreamMessage",
    ]
    upstream, downstream = bench.fleet.events[1:3]
    assert downstream.correlation_id == upstream.correlation_id


async def test_a_message_that_the_network_refuses_is_reported_as_failed(tmp_path: Path) -> None:
    """A datagram cannot hold 70,000 octets."""
    async with fleet_bench(tmp_path, downstream={"max_payload": 100_000}) as fleet:
        listener = Datagrams(DatagramsConfig(port=0), reception=fleet.reception, outbox=fleet.outbox)
        await listener.start()
        bench = Bench(fleet, listener)
        device = await fleet.device("127.0.0.1")
        await fleet.outbox.queue(device, bytes(70_000), cause=CAUSE)
        with closing(bench.client()) as client:
            client.sendto(b"ping", bench.target)
            await until(lambda: "downstreamFailed" in fleet.names)
        await listener.stop()

    ((_, data),) = [each for each in fleet.published if each[0] == "downstreamFailed"]
    assert (data["reason"], data["detail"]) == ("sendError", "Message too long")


async def test_an_unknown_sender_is_reported_and_not_answered(bench: Bench) -> None:
    """F06: no datagram is sent; messageRejected is published."""
    with closing(bench.client("127.0.0.77")) as client:
        client.sendto(b"hello", bench.target)
        await until(lambda: bench.fleet.names == ["messageRejected"])
        with pytest.raises(BlockingIOError):
            client.recv(99)

    assert bench.fleet.published[0][1]["remoteAddress"].startswith("127.0.0.77:")


async def test_a_rejected_message_is_not_answered_with_a_waiting_message(bench: Bench) -> None:
    """The downstream message stays in the outbox when the upstream message was not accepted."""
    device = await bench.fleet.device("127.0.0.1")
    await bench.fleet.outbox.queue(device, b"x", cause=CAUSE)
    with closing(bench.client()) as client:
        client.sendto(bytes(20_000), bench.target)
        await until(lambda: "messageRejected" in bench.fleet.names)

    assert bench.fleet.outbox.next_for(device) is not None
    assert "clientConnected" not in bench.fleet.names


@pytest.mark.parametrize("source", ["::1", "127.0.0.1"])
async def test_an_ipv6_socket_serves_both_families(tmp_path: Path, source: str) -> None:
    """An IPv4 sender is identified by its IPv4 address, and is answered."""
    async with listening(tmp_path, host="::") as bench:
        device = await bench.fleet.device(source)
        await bench.fleet.outbox.queue(device, b"back", cause=CAUSE)
        with closing(bench.client(source)) as client:
            client.sendto(b"hello", (source, bench.target[1]))
            answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 99), PATIENCE)

    assert answer == b"back"
    assert bench.fleet.messages[0].origin == device.origin


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """The error names listener, address and port; no socket stays open."""
    async with listening(tmp_path) as bench:
        taken = Datagrams(
            DatagramsConfig(port=bench.target[1]), reception=bench.fleet.reception, outbox=bench.fleet.outbox
        )
        with pytest.raises(
            ListenerUnavailable, match=rf"datagrams: cannot bind 127\.0\.0\.1 port {bench.target[1]}/udp"
        ) as caught:
            await taken.start()
        assert f"sport = :{bench.target[1]}" in caught.value.hint
        assert "SPAN_EVENTS_DATAGRAMS__PORT=0" in caught.value.hint
        await taken.stop()


async def test_an_address_of_another_machine_is_named() -> None:
    """The hint explains the address, not the port."""
    with pytest.raises(ListenerUnavailable, match="Cannot assign requested address") as caught:
        bind("coap", "192.0.2.1", 0, socket.SOCK_DGRAM)

    assert "This machine has no address 192.0.2.1" in caught.value.hint


async def test_an_invalid_address_is_named() -> None:
    """The name cannot be resolved."""
    with pytest.raises(ListenerUnavailable, match=r"coap: 999\.0\.0\.1 is no address that can be bound"):
        UdpSocket("coap", "999.0.0.1", 0, receive_buffer=1, receive=print).open()


async def test_a_defect_loses_only_one_datagram() -> None:
    """The defect is counted, and the next datagram is read."""
    taken = []

    def receive(datagram: bytes, _remote: tuple[str, int]) -> None:
        if datagram == b"bad":
            raise ZeroDivisionError
        taken.append(datagram)

    opened = UdpSocket("test", "127.0.0.1", 0, receive_buffer=65536, receive=receive)
    opened.open()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        for datagram in (b"bad", b"good"):
            client.sendto(datagram, opened.address)
        await until(lambda: taken == [b"good"])
    opened.close()
    opened.close()

    assert (opened.received, opened.defects) == (2, 1)


async def test_other_work_goes_on_between_datagrams_that_take_long() -> None:
    """A flood of long datagrams to one port must not stop the other ports."""
    order: list[bytes | str] = []

    def receive(datagram: bytes, _remote: tuple[str, int]) -> None:
        time.sleep(0.02)
        order.append(datagram)
        asyncio.get_running_loop().call_soon(order.append, "other work")

    opened = UdpSocket("test", "127.0.0.1", 0, receive_buffer=65536, receive=receive)
    opened.open()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        for _ in range(3):
            client.sendto(b"long", opened.address)
        await until(lambda: len(order) == 6)
    opened.close()

    assert order == [b"long", "other work"] * 3


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "no.such.host.invalid"])
async def test_an_invalid_host_name_is_explained(host: str) -> None:
    """Python's IDNA codec rejects some names before a resolver is asked."""
    with pytest.raises(ListenerUnavailable, match="is no address that can be bound"):
        UdpSocket("datagrams", host, 0, receive_buffer=4096, receive=lambda *_: None).open()


async def test_a_message_that_is_claimed_after_its_device_was_disabled_is_not_sent(bench: Bench) -> None:
    """It stays in the outbox, as it does if the device has got another address meanwhile."""
    device = await bench.fleet.device("127.0.0.1")
    message = await bench.fleet.outbox.queue(device, b"on", cause=CAUSE)
    with closing(bench.client()) as client, slow_claims(bench.fleet) as claims:
        client.sendto(b"hello", bench.target)
        await claims.asked(message)
        await bench.fleet.devices.update(device, DeviceChange(enabled=False), cause=CAUSE)
        await claims.answer(message)
        with pytest.raises(BlockingIOError):
            client.recv(100)

    assert bench.fleet.outbox.next_for(device) is message
