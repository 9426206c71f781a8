"""Devices over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from span_events import ids
from tests.web.conftest import Reply, WebBench


async def patch(api: WebBench, collection: str, device: str, body: Any, **options: Any) -> Reply:
    return await api.call("PATCH", f"/span/collections/{collection}/devices/{device}", json=body, **options)


async def test_a_device_that_was_created_is_shown_and_listed(api: WebBench) -> None:
    """All three replies are the same document."""
    collection = await api.collection()
    path = f"/span/collections/{collection}/devices"
    created = (await api.call("POST", path, json={"tags": {"name": "x"}})).body
    shown = (await api.call("GET", f"{path}/{created['deviceId']}")).body
    listed = (await api.call("GET", path)).body

    assert created == shown
    assert listed == {"devices": [shown]}


async def test_an_empty_body_is_an_empty_object(api: WebBench) -> None:
    """`curl -X POST` is enough to create resources."""
    collection = (await api.call("POST", "/span/collections")).body["collectionId"]
    reply = await api.call("POST", f"/span/collections/{collection}/devices")

    assert reply.status == 200


async def test_calls_are_the_cause_of_their_events(api: WebBench) -> None:
    """X-Request-Id of the reply is the correlation id of the events."""
    collection = await api.collection()
    path = f"/span/collections/{collection}/devices"
    created = await api.call("POST", path, json={})
    device = f"{path}/{created.body['deviceId']}"
    replies = [created, await api.call("PATCH", device, json={"tags": {"a": "b"}}), await api.call("DELETE", device)]

    assert api.fleet.names == ["deviceCreated", "deviceUpdated", "deviceRemoved"]
    assert [ids.render(each.correlation_id or 0) for each in api.fleet.events] == [
        each.headers["x-request-id"] for each in replies
    ]


async def test_a_patch_changes_only_its_fields(api: WebBench) -> None:
    """Tags are merged, an empty mapping and null change nothing."""
    collection = await api.collection()
    device = await api.device(
        collection,
        tags={"name": "x", "place": "lab"},
        config={"ciot": {"imsi": "242016000000001", "imei": "350000000000006"}},
        metadata={"ciot": {"allocatedIp": "10.0.0.1"}},
    )
    before = (await api.call("GET", f"/span/collections/{collection}/devices/{device}")).body
    nothing: list[dict[str, Any]] = [
        {},
        {"tags": {}},
        {"tags": None, "enabled": None, "config": None, "firmware": None, "metadata": {}},
    ]
    for body in nothing:
        assert (await patch(api, collection, device, body)).body == before
    changed = (await patch(api, collection, device, {"tags": {"name": "y", "new": ""}, "enabled": False})).body

    assert changed == {**before, "tags": {"name": "y", "place": "lab", "new": ""}, "enabled": False}


@pytest.mark.parametrize("nothing", ["", "0", 0, None])
async def test_identities_are_cleared_by_every_form_of_unset(api: WebBench, nothing: object) -> None:
    """Empty text, null, and the zero that generated clients write for an int64 without a value."""
    collection = await api.collection()
    device = await api.device(collection, config={"ciot": {"imsi": "242016000000001", "imei": "350000000000006"}})
    changed = (await patch(api, collection, device, {"config": {"ciot": {"imsi": nothing}}})).body

    assert changed["config"] == {"ciot": {"imei": "350000000000006"}}


async def test_an_int64_may_be_a_number(api: WebBench) -> None:
    """Some clients write digits as numbers."""
    collection = await api.collection()
    device = await api.device(collection, config={"ciot": {"imsi": 242016000000001}})

    assert api.known(device).config.imsi == "242016000000001"


async def test_the_address_can_be_set_by_hand(api: WebBench) -> None:
    """For a lab without a mobile core; any spelling of an address is that address."""
    collection = await api.collection()
    device = await api.device(collection, metadata={"ciot": {"allocatedIp": "::ffff:10.0.0.1"}})
    first = api.fleet.directory.device_at("10.0.0.1")
    moved = await patch(api, collection, device, {"metadata": {"ciot": {"allocatedIp": "FD00::1"}}})
    second = api.fleet.directory.device_at("fd00::1")
    cleared = await patch(api, collection, device, {"metadata": {"ciot": {"allocatedIp": ""}}})

    assert first is second is api.known(device)
    assert moved.body["metadata"]["ciot"]["allocatedIp"] == "fd00::1"
    assert cleared.body["metadata"]["ciot"]["allocatedIp"] == ""
    assert api.fleet.directory.device_at("fd00::1") is None


async def test_the_address_by_hand_is_kept_for_the_device(api: WebBench) -> None:
    """Sending back a read document changes nothing; the reserved address can be set separately."""
    collection = await api.collection()
    device = await api.device(collection, metadata={"ciot": {"allocatedIp": "10.0.0.1"}})
    before = (await api.call("GET", f"/span/collections/{collection}/devices/{device}")).body["metadata"]
    api.fleet.clock.shift(5)
    after = (await patch(api, collection, device, {"metadata": before})).body["metadata"]
    other = (
        await patch(api, collection, device, {"metadata": {"ciot": {"staticIp": "10.0.0.2"}}}, params={"extended": "1"})
    ).body["metadata"]

    assert before == after
    assert before["ciot"]["allocatedIp"] == "10.0.0.1"
    assert (other["ciot"]["allocatedIp"], other["ciot"]["staticIp"]) == ("10.0.0.2", "10.0.0.2")


async def test_hardware_is_the_same_in_every_form(api: WebBench) -> None:
    """A device shows its IMEI as written; no other device can have the same hardware in any form."""
    collection = await api.collection()
    owner = await api.device(collection, config={"ciot": {"imei": "3569380356438001"}})
    shown = (await api.call("GET", f"/span/collections/{collection}/devices/{owner}")).body
    body = {"config": {"ciot": {"imei": "356938035643809"}}}
    refused = await api.call("POST", f"/span/collections/{collection}/devices", json=body)
    wrong = await api.call(
        "POST", f"/span/collections/{collection}/devices", json={"config": {"ciot": {"imei": "1" * 15}}}
    )

    assert shown["config"]["ciot"]["imei"] == "3569380356438001"
    assert refused.problem == (409, "config.ciot.imei: 356938035643809 belongs to another device")
    assert (wrong.status, wrong.body["field"]) == (400, "config.ciot.imei")


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"metadata": {"ciot": {"allocatedIp": "10.0.0.1"}}}, "metadata.ciot.allocatedIp", "10.0.0.1"),
        ({"config": {"ciot": {"imsi": "242016000000001"}}}, "config.ciot.imsi", "242016000000001"),
        ({"config": {"ciot": {"imei": "350000000000006"}}}, "config.ciot.imei", "350000000000006"),
    ],
)
async def test_an_identity_belongs_to_one_device(api: WebBench, body: Any, field: str, value: str) -> None:
    """The conflict names the identity; a device keeps its own without one."""
    collection = await api.collection()
    owner = await api.device(collection, **body)
    other = await api.device(await api.collection())
    own = await patch(api, collection, owner, body)
    created = await api.call("POST", f"/span/collections/{collection}/devices", json=body)
    patched = await patch(api, ids.render(api.known(other).collection.id), other, body)

    assert own.status == 200
    assert created.problem == patched.problem == (409, f"{field}: {value} belongs to another device")
    assert created.body["field"] == field


async def test_gateway_blocks_are_replaced_or_removed_one_by_one(api: WebBench) -> None:
    """An empty block removes that gateway's, another one replaces all its params."""
    collection = await api.collection()
    first, second = await api.gateway(collection), await api.gateway(collection)
    device = await api.device(
        collection, config={"gateway": {first: {"params": {"a": "1"}}, second: {"params": {"b": "2"}}}}
    )
    replaced = await patch(api, collection, device, {"config": {"gateway": {second: {"params": {"c": "3"}}}}})
    empty: dict[str, Any] = {first: {}, second: {"params": {}}, "5": None}
    removed = await patch(api, collection, device, {"config": {"gateway": empty}})

    assert replaced.body["config"]["gateway"] == {
        first: {"gatewayId": first, "params": {"a": "1"}},
        second: {"gatewayId": second, "params": {"c": "3"}},
    }
    assert removed.body["config"] == {}


@pytest.mark.parametrize(
    ("gateway", "text"),
    [
        ("17", "There is no gateway 17 in collection {collection}"),
        ("{foreign}", "There is no gateway {foreign} in collection {collection}"),
        ("3", "gateway 3 is built in"),
    ],
)
async def test_a_block_names_a_gateway_of_the_same_collection(api: WebBench, gateway: str, text: str) -> None:
    """And none that is built in; the refusal names the block, and nothing is changed."""
    collection = await api.collection()
    foreign = await api.gateway(await api.collection())
    device = await api.device(collection)
    named = gateway.format(foreign=foreign)
    body = {"tags": {"a": "b"}, "config": {"gateway": {named: {"params": {"a": "1"}}}}}
    patched = await patch(api, collection, device, body)
    created = await api.call("POST", f"/span/collections/{collection}/devices", json=body)
    detail = f"config.gateway.{named}: {text.format(collection=collection, foreign=foreign)}"

    assert patched.problem == created.problem == (400, detail)
    assert patched.body["field"] == f"config.gateway.{named}"
    assert api.known(device).tags == {}


async def test_a_target_image_is_set_kept_and_cleared(api: WebBench) -> None:
    """Null keeps the target; "0" and empty text clear the target."""
    collection = await api.collection()
    image = await api.image(collection)
    device = await api.device(collection, firmware={"targetFirmwareId": image})
    found = [
        (await patch(api, collection, device, {"firmware": {"targetFirmwareId": each}})).body["firmware"]
        for each in (None, "0", image, "")
    ]

    assert [each["targetFirmwareId"] for each in found] == [image, "0", image, "0"]


async def test_a_device_moves_with_everything(api: WebBench) -> None:
    """Both collections get the event; the old path is not found."""
    old, new = await api.collection(), await api.collection()
    device = await api.device(old, tags={"name": "x"}, metadata={"ciot": {"allocatedIp": "10.0.0.1"}})
    api.fleet.activities.clear()
    moved = await patch(api, old, device, {"collectionId": new, "tags": {}})
    gone = await api.call("GET", f"/span/collections/{old}/devices/{device}")
    there = await api.call("GET", f"/span/collections/{new}/devices/{device}")

    assert moved.body == there.body
    assert (there.body["collectionId"], there.body["tags"]) == (new, {"name": "x"})
    assert gone.problem == (404, f"There is no device {device} in collection {old}")
    assert api.fleet.names == ["deviceMoved", "deviceMoved"]
    assert {ids.render(each.origin.collection_id or 0) for each in api.fleet.events} == {old, new}


async def test_the_same_collection_is_no_move(api: WebBench) -> None:
    """Clients send back read documents; an empty id counts as absent."""
    collection = await api.collection()
    gateway = await api.gateway(collection)
    device = await api.device(collection, config={"gateway": {gateway: {"params": {"a": "1"}}}})

    for named in (collection, "", None):
        assert (await patch(api, collection, device, {"collectionId": named})).status == 200


async def test_moving_needs_write_access_to_both_collections(api: WebBench) -> None:
    """The refusal names the target; a token for everything will do."""
    old, new = await api.collection(), await api.collection()
    device = await api.device(old)
    token = await api.token(f"/collections/{old}", write=True)
    reply = await patch(api, old, device, {"collectionId": new}, token=token)
    status, detail = reply.problem

    assert status == 403
    assert detail.startswith(f"collectionId: the device cannot be moved to {new}: ")
    assert detail.endswith(f"The token does not reach /collections/{new}; it reaches /collections/{old}")
    assert ids.render(api.known(device).collection.id) == old


async def test_a_device_with_a_gateway_block_cannot_move(api: WebBench) -> None:
    """Also not when the same call removes the block: first one, then the other."""
    old, new = await api.collection(), await api.collection()
    gateway = await api.gateway(old)
    device = await api.device(old, config={"gateway": {gateway: {"params": {"a": "1"}}}})
    reply = await patch(api, old, device, {"collectionId": new, "config": {"gateway": {gateway: {}}}})

    assert reply.problem == (409, "collectionId: a device with a gateway block cannot move")
    assert reply.body["hint"] == "Remove the blocks under config.gateway first."


async def test_a_device_cannot_move_to_nowhere(api: WebBench) -> None:
    """An unknown collection gets 404."""
    collection = await api.collection()
    device = await api.device(collection)
    reply = await patch(api, collection, device, {"collectionId": "17dh0cf43jfgl8"})

    assert reply.problem == (404, "There is no collection 17dh0cf43jfgl8")


async def test_a_device_is_created_in_the_collection_of_the_path(api: WebBench) -> None:
    """Another collection in the body is a mistake, the same one is not."""
    collection, other = await api.collection(), await api.collection()
    path = f"/span/collections/{collection}/devices"
    same = await api.call("POST", path, json={"collectionId": collection})
    wrong = await api.call("POST", path, json={"collectionId": other})

    assert same.body["collectionId"] == collection
    assert wrong.problem == (400, "collectionId: is not the collection in the path")


async def test_a_removed_device_is_not_found(api: WebBench) -> None:
    """A second DELETE is answered with 404."""
    collection = await api.collection()
    device = await api.device(collection)
    path = f"/span/collections/{collection}/devices/{device}"
    replies = [await api.call("DELETE", path) for _ in range(2)]

    assert replies[0].status == 200
    assert replies[1].problem == (404, f"There is no device {device} in collection {collection}")


async def test_a_device_counts_its_messages(api: WebBench) -> None:
    """int64 as text, the sessions as a number."""
    collection = await api.collection()
    device = await api.device(collection)
    api.receive(device, b"12345")
    stats = await api.call("GET", f"/span/collections/{collection}/devices/{device}/stats")

    assert stats.body == {
        "bytesUpstream": "5",
        "bytesDownstream": "0",
        "messagesUpstream": "1",
        "messagesDownstream": "0",
        "sessionCount": 1,
    }


async def test_a_device_shows_its_last_message(api: WebBench) -> None:
    """The time is in nanoseconds."""
    collection = await api.collection()
    device = await api.device(collection)
    api.receive(device, b"\x00\xff")
    shown = (await api.call("GET", f"/span/collections/{collection}/devices/{device}")).body

    assert (shown["lastReceived"], shown["lastTransport"], shown["lastPayload"]) == (
        "1714076616000000000",
        "udp",
        "AP8=",
    )


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [("PATCH", "", b'{"tags":{"mine":"yes"}}'), ("POST", "/outbox", b'{"payload":"aGk="}')],
)
async def test_a_body_that_comes_after_a_move_reaches_nothing(
    api: WebBench, method: str, rest: str, body: bytes
) -> None:
    """A token of the old collection must not follow the device by sending its body late."""
    old, new = await api.collection(), await api.collection()
    device = await api.device(old)
    token = await api.token(f"/collections/{old}", write=True)

    async def late() -> AsyncIterator[bytes]:
        yield body[:5]
        reply = await patch(api, old, device, {"collectionId": new})
        assert reply.status == 200
        yield body[5:]

    path = f"/span/collections/{old}/devices/{device}{rest}"
    reply = await api.call(method, path, token=token, data=late())

    assert reply.problem == (404, f"There is no device {device} in collection {old}")
    assert api.known(device).tags == {}
    assert api.fleet.outbox.waiting == 0
