"""Ends of DTLS sessions on a real socket, and data after them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from span_events.events.activity import UNATTRIBUTED
from tests.bench.certificates import Holder
from tests.bench.fleets import CAUSE
from tests.bench.nodes import slow_claims
from tests.bench.waiting import until
from tests.listeners.dtls.bench import DtlsBench
from tests.listeners.dtls.changes import change_psk, disable, disable_collection, remove, revoke
from tests.wire.dtls.client import DtlsClient


async def test_f18_a_rebooted_device_replaces_its_session(bench: DtlsBench) -> None:
    """The new hello has the same address and port; the old session ends when the new handshake is complete."""
    client = await bench.client().connect()
    await bench.names(1)
    client.dtls = DtlsClient(bench.holder)
    await client.connect()
    client.say(b"after the reboot")
    published = await bench.published(3)

    assert [name for name, _ in published] == ["clientDisconnected", "clientConnected", "upstreamMessage"]
    assert published[0][1]["reason"] == "replaced"
    assert bench.dtls.sessions == 1


async def test_a_failed_handshake_does_not_end_the_session_of_its_address(bench: DtlsBench) -> None:
    """The handshake has the address of the session, but no valid certificate."""
    client = await bench.client().connect()
    before, client.dtls = client.dtls, DtlsClient(Holder.root("other").leaf())
    await client.connect()
    client.dtls = before
    client.say(b"still here")
    published = await bench.published(3)

    assert [name for name, _ in published] == ["clientConnected", "clientRejected", "upstreamMessage"]


async def test_a_device_that_reboots_during_a_handshake_can_connect(bench: DtlsBench) -> None:
    """The new hello does not go to the old handshake, which would answer with an old ServerHello."""
    client = bench.client()
    await client.greet()
    while not client.dtls.step(await client.receive()):
        pass  # until the server's flight is complete; the answer of the client is lost
    client.dtls = DtlsClient(bench.holder)
    await client.connect()

    assert client.dtls.established
    assert await bench.names(1) == ["clientConnected"]
    assert bench.dtls.half_open == 0


async def test_f19_data_without_a_session_is_reported_with_a_guess(bench: DtlsBench) -> None:
    """The NAT may have changed the port of the device, or the sender is its neighbour there."""
    client = await bench.client().connect()
    await bench.names(1)
    bench.fleet.clock.shift(61)
    moved = bench.raw()
    moved.send(client.dtls.send(b"lost")[0])
    await until(lambda: bool(bench.fleet.activities))
    origin = bench.fleet.events[0].origin
    ((name, data),) = bench.fleet.drain()

    assert (name, data["reason"], data["remoteAddress"]) == ("messageRejected", "noSession", moved.remote)
    assert data["detail"].startswith(f"a guess: the only session at this address has {client.remote}, quiet for 61 s;")
    assert origin == UNATTRIBUTED


async def test_data_without_a_session_has_no_owner_with_several_sessions_at_its_host(bench: DtlsBench) -> None:
    """Both devices are behind one NAT."""
    clients = [await bench.client().connect(), await bench.client().connect()]
    await bench.names(2)
    bench.raw().send(clients[0].dtls.send(b"lost")[0])
    await until(lambda: bool(bench.fleet.activities))

    assert bench.fleet.events[0].origin == UNATTRIBUTED


async def test_f21_a_silent_device_is_disconnected(bench: DtlsBench) -> None:
    """The idle timeout ends the session with a close_notify."""
    client = await bench.client().connect()
    await bench.names(1)
    bench.fleet.clock.shift(900)
    bench.fleet.reception.sweep()
    ((name, data),) = await bench.published(1)

    assert (name, data["reason"], data["idleSeconds"]) == ("clientDisconnected", "idleTimeout", "900")
    assert bench.dtls.sessions == 0
    await client.receive_close_notify()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (remove, "deviceRemoved"),
        (revoke, "certificateRevoked"),
        (disable, "deviceDisabled"),
        (disable_collection, "deviceDisabled"),
    ],
)
async def test_a_session_ends_with_its_device_or_certificate(
    bench: DtlsBench, change: Callable[[DtlsBench], Awaitable[None]], reason: str
) -> None:
    """The client receives a close_notify."""
    client = await bench.client().connect()
    await bench.names(1)
    await change(bench)
    ends = [data for name, data in bench.fleet.drain() if name == "clientDisconnected"]

    assert ends == [{"reason": reason, "transport": "dtls", "remoteAddress": client.remote}]
    assert bench.dtls.sessions == len(bench.fleet.reception.sessions) == 0
    await client.receive_close_notify()


async def test_a_new_psk_ends_the_session_of_the_old_one(bench: DtlsBench) -> None:
    """A session with a certificate continues."""
    other = await bench.client().connect()
    client = await bench.psk_client().connect()
    await bench.names(2)
    await change_psk(bench)
    await client.receive_close_notify()
    other.say(b"still here")
    published = await bench.published(3)

    assert [data["reason"] for name, data in published if name == "clientDisconnected"] == ["pskChanged"]
    assert published[-1][0] == "upstreamMessage"


async def test_stopping_closes_all_sessions(bench: DtlsBench) -> None:
    """Their events have a reason; handshakes are dropped without an event."""
    clients = [await bench.client().connect(), await bench.psk_client().connect()]
    await bench.client().greet()
    await bench.names(2)
    await bench.datagrams.stop()
    published = bench.fleet.drain()

    assert [(name, data["reason"]) for name, data in published] == [("clientDisconnected", "serverStopped")] * 2
    assert bench.dtls.half_open == bench.dtls.sessions == 0
    for client in clients:
        await client.receive_close_notify()


async def test_mutated_records_end_no_session(bench: DtlsBench) -> None:
    """They are sent to a live session and to no session; only the genuine record is delivered."""
    dice = random.Random(7)
    client, stranger = await bench.client().connect(), bench.raw()
    await bench.names(1)
    for _ in range(2_000):
        octets = bytearray(client.dtls.send(b"x" * dice.randrange(1, 60))[0])
        for _ in range(dice.randrange(1, 4)):
            octets[dice.randrange(len(octets))] ^= dice.randrange(1, 256)
        bench.dtls.receive(bytes(octets), ("127.0.0.1", int(client.remote.rpartition(":")[2])))
        stranger.send(bytes(octets))
    bench.fleet.activities.clear()
    client.say(b"genuine")
    await until(lambda: bool(bench.fleet.messages))

    assert [each.payload for each in bench.fleet.messages] == [b"genuine"]
    assert bench.dtls.sessions == 1


async def test_a_message_that_is_claimed_after_the_end_of_its_session_waits_for_the_next(bench: DtlsBench) -> None:
    """A sleepy device says something and leaves, while its node asks PostgreSQL for the message."""
    message = await bench.fleet.outbox.queue(bench.device, b"on", cause=CAUSE)
    client = await bench.client().connect()
    with slow_claims(bench.fleet) as claims:
        client.say(b"hello")
        client.leave()
        await until(lambda: "clientDisconnected" in bench.fleet.names)
        await claims.answer(message)
    names = [name for name, _ in bench.fleet.drain()]
    following = await bench.client().connect()
    following.say(b"hello again")

    assert names[-2:] == ["upstreamMessage", "clientDisconnected"]
    assert await following.listen() == b"on"
