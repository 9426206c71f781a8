"""Nodes that share a registry and a bus: what one knows or does, all do, also after a failure of NATS or PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import closing

from tests.cluster.bench import Cluster
from tests.cluster.site import Site, activity, arrives, new_device, post, shows


async def test_one_event_is_seen_at_both_web_nodes_with_one_id(site: Site) -> None:
    device = await new_device(site.web)
    extended = {"extended": "1"}
    async with (
        site.web.tail(activity(device), extended) as tail,
        site.other_web.tail(activity(device), extended) as other,
    ):
        for number, node in enumerate((site.devices, site.other_devices)):
            await arrives(device, node, tail, other)
            with closing(node.socket_at(device.address, "datagrams")) as client:
                client.send(b"x" * (10 + number))
            seen = [await each.until("upstreamMessage", bytes=str(10 + number)) for each in (tail, other)]

            assert seen[0] == seen[1]


async def test_a_change_at_one_web_node_shows_at_the_other_and_at_the_device_nodes(site: Site) -> None:
    """A device that was disabled at one node is refused at a device node."""
    device = await new_device(site.web)
    async with site.other_web.tail(activity(device)) as tail:
        await arrives(device, site.devices, tail)
        await site.other_web.call("PATCH", device.path, {"enabled": False})
        with closing(site.devices.socket_at(device.address, "datagrams")) as client:
            await site.devices.sees(tail, lambda: client.send(b"x"), "messageRejected", reason="deviceDisabled")
    await shows(site.web, device.path, lambda shown: shown["enabled"] is False)


async def test_a_message_posted_at_one_web_node_reaches_the_device_at_either_device_node_once(site: Site) -> None:
    """The node that the device contacts claims it; a device that contacts both gets it from one."""
    device = await new_device(site.web)
    async with site.other_web.tail(activity(device)) as tail:
        await arrives(device, site.devices, tail)
        with (
            closing(site.devices.socket_at(device.address, "datagrams")) as one,
            closing(site.other_devices.socket_at(device.address, "datagrams")) as other,
        ):
            for payload in ("first", "second"):
                await post(site.web, device, payload.encode())

            def contact() -> None:
                one.send(b"x")
                other.send(b"x")

            await site.devices.sees(tail, contact, "downstreamMessage")
            await site.devices.sees(tail, contact, "downstreamMessage")
            await shows(
                site.other_web,
                f"{device.path}/outbox",
                lambda outbox: all(each["state"] == "sent" for each in outbox["messages"]),
            )
            contact()
            for node in (site.devices, site.other_devices):
                await arrives(device, node, tail)  # and after it, nothing comes for the contact
            received = [*iter(one.take, None), *iter(other.take, None)]

    assert sorted(received) == [b"first", b"second"]


async def test_any_web_node_shows_what_only_the_device_nodes_have(site: Site) -> None:
    """The messages in their memory, and their counters together."""
    device = await new_device(site.web)
    async with site.web.tail(activity(device)) as tail:
        await arrives(device, site.devices, tail)
        await arrives(device, site.other_devices, tail)
        of_device, of_all = f"{device.path}/data", f"/span/collections/{device.collection}/data"
        places = [(node, path) for node in site.nodes[:2] for path in (of_device, of_all)]
        await asyncio.gather(*(node.call("GET", path) for node, path in places))  # now no datagram is under way
        lists = [await node.call("GET", path) for node, path in places]
        counted = await site.other_web.call("GET", f"{device.path}/stats")
        of_collection = await site.web.call("GET", f"/span/collections/{device.collection}/stats")
        newest = await site.web.call("GET", f"{device.path}/inbox?limit=1")

    ids, *others = ([each["messageId"] for each in found["data"]] for found in lists)
    assert len(ids) >= 2
    assert ids == sorted(set(ids), reverse=True)
    assert others == [ids] * 3
    assert counted["messagesUpstream"] == str(len(ids))
    assert counted["sessionCount"] == 2
    assert of_collection["devices"] == counted
    assert [each["messageId"] for each in newest["messages"]] == ids[:1]


async def test_a_hundred_idle_collections_cost_a_web_node_no_nats_traffic(cluster: Cluster, site: Site) -> None:
    """They are made, their devices send, and the counters of NATS for the connection of a node stay as they are."""
    device = await new_device(site.web)
    before = await cluster.nats.connections()
    with cluster.node("idle", {"role": "web"}) as idle:
        (number,) = (await cluster.nats.connections()).keys() - before.keys()
        counts = (await cluster.nats.connections())[number]
        made = await asyncio.gather(*(site.web.add_collection() for _ in range(100)))
        for collection in made[:3]:
            await site.web.add_device(collection)
        async with site.other_web.tail(activity(device)) as tail:
            await arrives(device, site.devices, tail)
        await shows(idle, "/span/collections", lambda shown: len(shown["collections"]) > 100)

        assert (await cluster.nats.connections())[number] == counts


async def test_subscribers_go_on_when_nats_is_back_and_are_told_of_the_gap(cluster: Cluster, site: Site) -> None:
    """While it is away, the nodes are degraded, but ready: no other node could do better."""
    device = await new_device(site.web)
    async with site.web.tail(activity(device)) as tail, site.other_web.tail(activity(device)) as other:
        await arrives(device, site.devices, tail, other)
        cluster.nats.kill()
        await shows(site.web, "/healthz", lambda health: health["parts"]["bus"] != "ok")
        ready = await site.web.request("GET", "/readyz")
        cluster.nats.start()
        await asyncio.gather(*(each.until("eventsDropped", reason="busLost") for each in (tail, other)))
        await arrives(device, site.devices, tail, other)

    assert ready.status == 200


async def test_known_devices_go_on_while_postgresql_is_away_and_everything_when_it_is_back(
    cluster: Cluster, site: Site
) -> None:
    """While it is away, the nodes are degraded, but ready: a balancer that took all of them away would help nobody."""
    device = await new_device(site.web)
    parts = ("registry_changes", "leader", "node_number")
    async with site.web.tail(activity(device)) as tail:
        await arrives(device, site.devices, tail)
        cluster.database.stop()
        for node in site.nodes:
            await shows(node, "/healthz", lambda health: health["parts"].keys() > set(parts))
        ready = [(await node.request("GET", "/readyz")).status for node in site.nodes]
        refused = await site.web.request("POST", "/span/collections", {})
        known = await site.web.request("GET", device.path)
        await arrives(device, site.devices, tail)
        cluster.database.start()
        for node in site.nodes:
            await shows(node, "/healthz", lambda health: health["status"] == "ok")
        another = await new_device(site.other_web)
        async with site.other_web.tail(activity(another)) as other:
            await arrives(another, site.other_devices, other)

    assert (refused.status, known.status, ready) == (503, 200, [200] * 4)
