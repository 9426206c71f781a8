"""Gateways through the API, in Span's shape."""

from __future__ import annotations

from typing import Any

import pytest

from span_events import ids
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.registry.model import GatewayType
from tests.bench.fleets import CAUSE
from tests.bench.links import FakeGateway
from tests.web.conftest import IN_MODULE, Reply, WebBench


def path_of(collection: str, gateway: str = "") -> str:
    return f"/span/collections/{collection}/gateways" + (f"/{gateway}" if gateway else "")


async def patch(api: WebBench, collection: str, gateway: str, body: dict[str, Any], **options: Any) -> Reply:
    return await api.call("PATCH", path_of(collection, gateway), json=body, **options)


async def test_built_in_gateways_are_listed_first(api: WebBench) -> None:
    """In every collection, with the endpoints of the listeners."""
    api.fleet.directory.endpoints[GatewayType.CIOT]["udpEndpoint"] = "127.0.0.1:1234"
    collection = await api.collection()
    own = await api.gateway(collection, name="roof")
    listed = (await api.call("GET", path_of(collection))).body["gateways"]
    ciot = await api.call("GET", path_of(collection, "3"))

    assert [(each["gatewayId"], each["type"], each["builtIn"]) for each in listed] == [
        ("3", "ciot", True),
        ("4", "inet", True),
        (own, "custom", False),
    ]
    assert (
        ciot.body
        == listed[0]
        == {
            "gatewayId": "3",
            "collectionId": collection,
            "name": "Mobile network",
            "builtIn": True,
            "type": "ciot",
            "config": {"ciot": {"apn": "", "udpEndpoint": "127.0.0.1:1234", "coapEndpoint": ""}},
            "tags": {},
            "status": "online",
            "enabled": True,
        }
    )


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"name": "mine"}), ("PATCH", {}), ("DELETE", None)])
async def test_built_in_gateways_cannot_be_changed(api: WebBench, method: str, body: Any) -> None:
    """They are the server itself."""
    collection = await api.collection()
    for gateway in ("3", "4"):
        reply = await api.call(method, path_of(collection, gateway), json=body)

        assert reply.problem == (409, f"Gateway {gateway} is built in: it can neither be changed nor removed")


async def test_a_gateway_is_created_and_shown(api: WebBench) -> None:
    """As Span's command line creates it; absent fields have defaults."""
    collection = await api.collection()
    body = {"name": "roof", "type": "custom", "config": {"user": {"params": {"a": "1"}}}, "tags": {"x": "1"}}
    created = await api.call("POST", path_of(collection), json=body)
    plain = await api.call("POST", path_of(collection), json={"type": "unknown", "name": None, "tags": None})
    shown = await api.call("GET", path_of(collection, created.body["gatewayId"]))

    assert created.body == shown.body
    assert created.body == body | {
        "gatewayId": created.body["gatewayId"],
        "collectionId": collection,
        "builtIn": False,
        "status": "offline",
        "enabled": True,
    }
    assert (plain.body["type"], plain.body["name"], plain.body["config"]) == ("custom", "", {"user": {"params": {}}})


async def test_a_patch_changes_its_fields(api: WebBench) -> None:
    """Tags are merged, params are replaced; empty and null leave everything."""
    collection = await api.collection()
    gateway = await api.gateway(
        collection, name="roof", type="lora", tags={"x": "1"}, config={"user": {"params": {"a": "1", "b": "2"}}}
    )
    before = (await api.call("GET", path_of(collection, gateway))).body
    nothing: list[dict[str, Any]] = [
        {},
        {"name": "", "type": "", "tags": {}, "config": {"user": {"params": {}}}},
        {"name": None, "type": None, "tags": None, "config": None, "enabled": None},
        {"config": {"user": None}, "collectionId": collection},
        before,
    ]
    unchanged = [(await patch(api, collection, gateway, each)).body for each in nothing]
    body = {"name": "cellar", "type": "matter", "tags": {"y": "2"}, "config": {"user": {"params": {"c": "3"}}}}
    changed = (await patch(api, collection, gateway, body | {"enabled": False})).body

    assert unchanged == [before] * len(nothing)
    assert changed == before | {
        "name": "cellar",
        "type": "matter",
        "tags": {"x": "1", "y": "2"},
        "config": {"user": {"params": {"c": "3"}}},
        "enabled": False,
    }


@IN_MODULE
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"type": "ciot"}, 'type: "ciot" is not one of lora, openthread, zigbee, matter, custom'),
        ({"type": "Lora"}, 'type: "Lora" is not one of lora, openthread, zigbee, matter, custom'),
        ({"type": ["lora"]}, 'type: ["lora"] is not one of lora, openthread, zigbee, matter, custom'),
        ({"name": 5}, "name: 5 is not text"),
        ({"name": "x" * 1025}, "name: has 1025 characters, at most 1024"),
        ({"name": "a\0"}, 'name: "a\\u0000" has the character NUL, which PostgreSQL cannot store'),
        ({"enabled": "yes"}, 'enabled: "yes" is not true or false'),
        ({"config": {"user": {"params": {"a": 1}}}}, "config.user.params.a: 1 is not text"),
        ({"config": {"user": {"params": {"": "1"}}}}, 'config.user.params: the name "" has 0 characters, not 1 to 128'),
        ({"config": []}, "config: [] is not an object"),
    ],
)
async def test_a_wrong_field_is_named(shared_api: WebBench, body: dict[str, Any], text: str) -> None:
    """Creation and change refuse a type in the same words."""
    collection = await shared_api.collection()
    gateway = await shared_api.gateway(collection)
    created = await shared_api.call("POST", path_of(collection), json=body)

    assert (await patch(shared_api, collection, gateway, body)).problem == created.problem == (400, text)


async def test_tags_stay_within_their_bound(api: WebBench) -> None:
    """Also over many changes."""
    collection = await api.collection()
    gateway = await api.gateway(collection, tags={str(each): "" for each in range(100)})
    reply = await patch(api, collection, gateway, {"tags": {"one": "more"}})

    assert reply.problem == (400, "tags: 100 are there, with the new ones it would be 101, at most 100")


async def test_a_gateway_moves_without_devices_only(api: WebBench) -> None:
    """The refusal names the devices."""
    old, new = await api.collection(), await api.collection()
    gateway = await api.gateway(old)
    device = await api.device(old, config={"gateway": {gateway: {"params": {"a": "1"}}}})
    refused = await patch(api, old, gateway, {"collectionId": new})
    await api.call(
        "PATCH", f"/span/collections/{old}/devices/{device}", json={"config": {"gateway": {gateway: {"params": {}}}}}
    )
    moved = await patch(api, old, gateway, {"collectionId": new})
    gone = await api.call("GET", path_of(old, gateway))

    assert refused.problem == (
        409,
        f"collectionId: a gateway with devices behind it cannot move; there are {device}",
    )
    assert refused.body["field"] == "collectionId"
    assert moved.body["collectionId"] == new
    assert gone.problem == (404, f"There is no gateway {gateway} in collection {old}")


async def test_moving_needs_write_access_to_both_collections(api: WebBench) -> None:
    old, new = await api.collection(), await api.collection()
    gateway = await api.gateway(old)
    token = await api.token(f"/collections/{old}", write=True)
    reply = await patch(api, old, gateway, {"collectionId": new}, token=token)

    assert reply.problem[0] == 403
    assert reply.problem[1].startswith(f"collectionId: the gateway cannot be moved to {new}: ")
    created = await api.call("POST", path_of(old), json={"collectionId": new})
    assert created.problem == (400, "collectionId: is not the collection in the path")


async def test_a_deleted_gateway_is_gone_with_its_blocks(api: WebBench) -> None:
    """The reply is the last state."""
    collection = await api.collection()
    gateway = await api.gateway(collection, name="roof")
    device = await api.device(collection, config={"gateway": {gateway: {"params": {"a": "1"}}}})
    deleted = await api.call("DELETE", path_of(collection, gateway))
    shown = await api.call("GET", f"/span/collections/{collection}/devices/{device}")
    again = await api.call("DELETE", path_of(collection, gateway))

    assert (deleted.status, deleted.body["name"]) == (200, "roof")
    assert shown.body["config"] == {}
    assert again.problem == (404, f"There is no gateway {gateway} in collection {collection}")


async def test_the_status_follows_the_connection(api: WebBench) -> None:
    """The gateway's report is shown, too."""
    collection = await api.collection()
    gateway = await api.gateway(collection)
    known = api.fleet.directory.gateways[ids.parse(gateway)]
    found = [(await api.call("GET", path_of(collection, gateway))).body["status"]]
    fake = FakeGateway(api.fleet, known)
    found.append((await api.call("GET", path_of(collection, gateway))).body["status"])
    known.reported, known.reported_ms = {"version": "1.0"}, 1714076616000
    path = path_of(collection, gateway) + "?extended=1"
    disabled = await api.call("PATCH", path, json={"enabled": False})

    assert found == ["offline", "online"]
    assert disabled.body["status"] == "offline"
    assert disabled.body["metadata"] == {"lastUpdate": "1714076616000", "params": {"version": "1.0"}}
    assert fake.session.is_over


async def test_disabling_the_collection_disconnects_its_gateways(api: WebBench) -> None:
    collection = await api.collection()
    gateway = await api.gateway(collection)
    FakeGateway(api.fleet, api.fleet.directory.gateways[ids.parse(gateway)])
    await api.call("PATCH", f"/span/collections/{collection}", json={"enabled": False})

    assert (await api.call("GET", path_of(collection, gateway))).body["status"] == "offline"


async def test_a_message_through_a_gateway_is_shown_everywhere(api: WebBench) -> None:
    """In the data lists with its metadata, in the inbox, at the device, in the outbox, in the counts."""
    collection = await api.collection()
    gateway = await api.gateway(collection)
    device = await api.device(collection, config={"gateway": {gateway: {"params": {"devEui": "00"}}}})
    known = api.fleet.directory.gateways[ids.parse(gateway)]
    fake = FakeGateway(api.fleet, known)
    fake.configure()
    fake.upstream(api.known(device), b"hello", rssi="-90")
    base = f"/span/collections/{collection}/devices/{device}"
    await api.call("POST", f"{base}/outbox", json={"payload": "b24="})
    (data,) = (await api.call("GET", f"/span/collections/{collection}/data")).body["data"]
    (inbox,) = (await api.call("GET", f"{base}/inbox")).body["messages"]
    (outbox,) = (await api.call("GET", f"{base}/outbox")).body["messages"]
    shown = (await api.call("GET", base)).body
    stats = (await api.call("GET", f"{path_of(collection, gateway)}/stats")).body
    totals = (await api.call("GET", f"/span/collections/{collection}/stats")).body

    assert (data["transport"], data["gatewayId"], data["device"]["deviceId"]) == ("gateway", gateway, device)
    assert data["gatewayMetaData"] == {"metadata": {"rssi": "-90"}}
    assert (inbox["transport"], inbox["gatewayId"]) == ("gateway", gateway)
    assert (outbox["transport"], outbox["gatewayId"], outbox["state"]) == ("gateway", gateway, "sent")
    assert (shown["lastGatewayId"], shown["lastTransport"]) == (gateway, "gateway")
    assert shown["metadata"]["gateway"] == {
        "gatewayId": gateway,
        "lastUpdate": "1714076616000",
        "params": {"rssi": "-90"},
    }
    assert stats == {
        "bytesUpstream": "5",
        "bytesDownstream": "2",
        "messagesUpstream": "1",
        "messagesDownstream": "1",
    }
    assert (totals["gatewayCount"], totals["gateways"]) == (1, stats)


async def test_built_in_gateways_count_direct_messages(api: WebBench) -> None:
    """UDP and CoAP belong to ciot; built-in gateways do not count as gateways of the collection."""
    collection = await api.collection()
    api.receive(await api.device(collection), b"hello")
    counts = [
        (await api.call("GET", f"{path_of(collection, each)}/stats")).body["bytesUpstream"] for each in ("3", "4")
    ]
    totals = (await api.call("GET", f"/span/collections/{collection}/stats")).body

    assert counts == ["5", "0"]
    assert (totals["gatewayCount"], totals["gateways"]["messagesUpstream"]) == (0, "0")


@pytest.mark.parametrize(
    ("resource", "write", "statuses"),
    [
        ("/collections/{collection}", True, [200, 200, 200, 200, 200, 200]),
        ("/collections/{collection}", False, [200, 200, 200, 200, 403, 403]),
        ("/collections/{collection}/gateways/{gateway}", True, [403, 200, 200, 200, 200, 403]),
        ("/collections/{collection}/gateways/{gateway}", False, [403, 200, 200, 200, 403, 403]),
        ("/collections/{collection}/devices/{gateway}", True, [403] * 6),
        ("/collections/{other}", True, [403] * 6),
    ],
)
async def test_tokens_reach_gateways_as_far_as_their_resource(
    api: WebBench, resource: str, write: bool, statuses: list[int]
) -> None:
    """A collection with all of its gateways, or one gateway."""
    collection = await api.collection()
    gateway = await api.gateway(collection)
    token = await api.token(
        resource.format(collection=collection, gateway=gateway, other=await api.collection()), write=write
    )
    one = path_of(collection, gateway)
    calls = [
        ("GET", path_of(collection)),
        ("GET", one),
        ("GET", f"{one}/stats"),
        ("GET", f"{one}/certs"),
        ("PATCH", one),
        ("POST", path_of(collection)),
    ]
    found = [
        (await api.call(method, path, token=token, json={} if method in ("PATCH", "POST") else None)).status
        for method, path in calls
    ]

    assert found == statuses


async def test_missing_resources_are_not_found(api: WebBench) -> None:
    """Also a gateway of another collection."""
    collection = await api.collection()
    elsewhere = await api.gateway(await api.collection())
    for gateway in ("17", elsewhere):
        for method in ("GET", "PATCH", "DELETE"):
            reply = await api.call(method, path_of(collection, gateway))

            assert reply.problem == (404, f"There is no gateway {gateway} in collection {collection}")
    assert (await api.call("GET", path_of(collection, "XYZ"))).problem[0] == 400


async def test_an_update_does_not_follow_a_gateway_that_moved_meanwhile(api: WebBench) -> None:
    """The token may reach no other collection."""
    old = await api.collection()
    gateway = await api.gateway(old)
    known = api.fleet.directory.gateways[ids.parse(gateway)]
    target = await api.fleet.collection()
    await api.fleet.gateways.update(known, GatewayChange(collection_id=target.id), cause=CAUSE)

    assert (await patch(api, old, gateway, {"name": "x"})).problem[0] == 404
    assert known.name == ""
