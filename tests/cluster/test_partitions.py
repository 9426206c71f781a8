"""A device node is cut off from NATS, from PostgreSQL, or from both, and heals: nothing reaches a device twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.bench.live import Document, LiveDevice, Tail
from tests.bench.waiting import PATIENCE, answered
from tests.cluster.bench import Cluster, Node
from tests.cluster.site import Site, activity, arrives, metric, new_device, post, shows
from tests.listeners.coap.bench import RawClient
from tests.listeners.dtls.bench import SecureClient
from tests.wire.dtls.client import DtlsClient

EXTENDED = {"extended": "1"}
PSK = (b"partition", bytes(16))


@pytest.fixture(autouse=True)
def whole_again(site: Site) -> Iterator[None]:
    """Mend the cables after each test."""
    yield
    site.to_nats.mend()
    site.to_postgresql.mend()


async def until_claimed(cluster: Cluster) -> None:
    """Wait until a node has claimed a message in PostgreSQL."""
    engine = create_async_engine(cluster.registry_url)
    async with asyncio.timeout(PATIENCE), engine.connect() as connection:
        while not (await connection.execute(text("SELECT 1 FROM downstream WHERE claimed_by <> ''"))).all():
            await connection.rollback()
    await engine.dispose()


def is_away(part: str) -> Callable[[Document], bool]:
    """Return a condition: the health of a part is degraded."""
    return lambda health: health["parts"].get(part, "ok") != "ok"


async def fetched(*clients: RawClient, octets: int = 7) -> bytes:
    """Let a device send, again and again, until a downstream message comes back."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for client in clients:
                client.send(bytes(octets))
            await asyncio.sleep(0.05)  # a device that sends again
            for client in clients:
                if (found := client.take()) is not None:
                    return found


async def claim_prepared(site: Site) -> None:
    """Let the device node claim a message: PostgreSQL knows the statement then, and the next claim is one query."""
    device = await new_device(site.web)
    await post(site.web, device, b"before")
    with closing(site.devices.socket_at(device.address, "datagrams")) as client:
        assert await fetched(client) == b"before"


async def session_at(node: Node, device: LiveDevice, tail: Tail) -> str:
    """Let a device begin a DTLS session, send, and vanish; return the session's id."""
    host, _, port = node.addresses["datagrams"].rpartition(":")
    dtls = DtlsClient(psk=PSK)
    with closing(SecureClient(dtls, device.address, (host, int(port)))) as client:
        async with asyncio.timeout(PATIENCE):
            await client.connect()
        client.transmit(dtls.send(b"hello"))
        return str((await tail.until("upstreamMessage", transport="dtls"))["sessionId"])


def lengths(events: list[Document]) -> list[int]:
    """The lengths of upstream messages."""
    return [int(each["data"]["bytes"]) for each in events if each["event"] == "upstreamMessage"]


async def test_a_device_node_that_is_cut_off_from_nats_goes_on_and_counts_its_losses(site: Site) -> None:
    """Events on the broken connection may be lost, and are counted; later ones arrive when NATS is back."""
    device = await new_device(site.web)
    async with site.web.tail(activity(device), EXTENDED) as tail:
        await arrives(device, site.devices, tail)
        lost = await metric(site.devices, "bus_lost_total")
        with closing(site.devices.socket_at(device.address, "datagrams")) as client:
            site.to_nats.cut()
            await post(site.web, device, b"to the device")
            for number in range(20):
                client.send(bytes(100 + number))
            assert await fetched(client) == b"to the device"
            await shows(site.devices, "/healthz", is_away("bus"))
            for number in range(20):
                client.send(bytes(200 + number))
            site.to_nats.mend()
            await tail.until("upstreamMessage", bytes="219")
        lost = await metric(site.devices, "bus_lost_total") - lost
        await arrives(device, site.other_devices, tail)
    seen = lengths(tail.seen)
    missing = set(range(100, 120)) - set(seen)

    assert [each for each in seen if each >= 200] == list(range(200, 220))
    assert len({each["id"] for each in tail.seen}) == len(tail.seen)
    assert len(missing) <= lost


async def test_a_message_is_sent_once_although_its_claim_had_no_answer(cluster: Cluster, site: Site) -> None:
    """The node that was cut off from PostgreSQL at that moment does not send it; healed, it keeps it from nobody."""
    await claim_prepared(site)
    device = await new_device(site.web)
    async with site.web.tail(activity(device), EXTENDED) as tail:
        await arrives(device, site.devices, tail)
        with (
            closing(site.devices.socket_at(device.address, "datagrams")) as one,
            closing(site.other_devices.socket_at(device.address, "datagrams")) as other,
        ):
            known = await metric(site.devices, "downstream_waiting")
            await post(site.web, device, b"once")
            await answered(lambda: metric(site.devices, "downstream_waiting"), lambda now: now > known)
            site.to_postgresql.cut(only_replies=True)
            one.send(b"x")
            await until_claimed(cluster)
            await shows(site.devices, "/healthz", is_away("registry_changes"))
            await site.devices.sees(tail, lambda: one.send(b"cut off"), "upstreamMessage", bytes="7")
            await site.other_devices.sees(tail, lambda: other.send(b"not cut"), "upstreamMessage", bytes="7")
            received = [*iter(one.take, None), *iter(other.take, None)]
            site.to_postgresql.mend()
            if not received:  # else the claim was given back, which PostgreSQL did, and the other node sent the message
                received.append(await fetched(one, other))
            await shows(site.web, f"{device.path}/outbox", lambda outbox: outbox["messages"][0]["state"] == "sent")
            for client in (one, other):
                client.send(b"healed")
                await tail.until("upstreamMessage", bytes="6")
            received += [*iter(one.take, None), *iter(other.take, None)]

    assert received == [b"once"]
    assert [each["event"] for each in tail.seen].count("downstreamMessage") == 1


async def test_the_older_session_of_a_node_that_was_cut_off_ends(site: Site) -> None:
    """Cut off from both, the node serves its session on; the device has a newer one elsewhere, and keeps that."""
    device = await new_device(site.web)
    await site.web.set_psk(device, *PSK)
    async with site.web.tail(activity(device), EXTENDED) as tail:
        younger = await site.web.add_device(device.collection)
        for node in (site.devices, site.other_devices):
            await arrives(younger, node, tail)  # so they know the key, too
        older = await session_at(site.devices, device, tail)
        site.to_nats.cut()
        site.to_postgresql.cut()
        newer = await session_at(site.other_devices, device, tail)
        site.to_nats.mend()
        site.to_postgresql.mend()
        ended = await tail.until("clientDisconnected", reason="replaced")
        await arrives(device, site.devices, tail)

    assert newer != ended["sessionId"] == older
    assert [each["event"] for each in tail.seen].count("clientDisconnected") == 1
