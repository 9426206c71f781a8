"""Collections over REST."""

from __future__ import annotations

import pytest

from span_events.fleet.live import Values
from span_events.registry.model import Collection
from tests.web.conftest import WebBench


async def test_a_collection_that_was_created_is_shown_and_listed(api: WebBench) -> None:
    """All three replies are the same document."""
    created = (await api.call("POST", "/span/collections", json={"tags": {"name": "x"}, "teamId": "17dh"})).body
    shown = (await api.call("GET", f"/span/collections/{created['collectionId']}")).body
    listed = (await api.call("GET", "/span/collections")).body

    assert created == {
        "collectionId": created["collectionId"],
        "teamId": "17dh",
        "enabled": True,
        "tags": {"name": "x"},
        "firmware": {"currentFirmwareId": "0", "targetFirmwareId": "0", "management": "disabled"},
    }
    assert created == shown
    assert listed == {"collections": [shown]}


async def test_the_list_holds_the_collections_that_the_token_reaches(api: WebBench) -> None:
    """A token for one collection sees that one, a token for a device sees none."""
    first = await api.collection()
    second = await api.collection()
    device = await api.device(second)
    listed = {}
    for resource in ("/", f"/collections/{second}", f"/collections/{second}/devices/{device}"):
        reply = await api.call("GET", "/span/collections", token=await api.token(resource))
        listed[resource.count("/")] = [each["collectionId"] for each in reply.body["collections"]]

    assert listed == {1: [first, second], 2: [second], 4: []}


async def test_a_patch_changes_only_its_fields(api: WebBench) -> None:
    """Tags are merged; null and "unspecified" change nothing, nor does an empty team."""
    collection = await api.collection(tags={"name": "x"}, firmware={"management": "collection"})
    path = f"/span/collections/{collection}"
    target, current = await api.image(collection, "2"), await api.image(collection, "1")
    images = {"targetFirmwareId": target, "currentFirmwareId": current}
    before = (await api.call("PATCH", path, json={"firmware": images})).body
    unchanged = [
        (await api.call("PATCH", path, json=each)).body
        for each in (
            {},
            {"tags": {}, "teamId": "", "firmware": {"targetFirmwareId": None, "management": "unspecified"}},
            {"tags": None, "firmware": None, "enabled": None},
        )
    ]
    changed = await api.call(
        "PATCH",
        path,
        json={
            "tags": {"place": "lab"},
            "enabled": False,
            "firmware": {"targetFirmwareId": "0", "management": "device"},
        },
    )

    assert unchanged == [before, before, before]
    assert changed.body == {
        **before,
        "tags": {"name": "x", "place": "lab"},
        "enabled": False,
        "firmware": {"currentFirmwareId": current, "targetFirmwareId": "0", "management": "device"},
    }


async def test_a_collection_with_devices_stays(api: WebBench) -> None:
    """The conflict gives the number of devices and a hint."""
    collection = await api.collection()
    device = await api.device(collection)
    refused = await api.call("DELETE", f"/span/collections/{collection}")
    await api.call("DELETE", f"/span/collections/{collection}/devices/{device}")
    deleted = await api.call("DELETE", f"/span/collections/{collection}")
    gone = await api.call("GET", f"/span/collections/{collection}")

    assert refused.problem == (409, f"Collection {collection} still has 1 device")
    assert refused.body["hint"] == "Delete its devices first, or move them to another collection."
    assert deleted.body["collectionId"] == collection
    assert gone.problem == (404, f"There is no collection {collection}")


async def test_message_times_of_the_last_hour_are_shown_on_request(api: WebBench) -> None:
    """Milliseconds as text; a collection without the question does not have the field."""
    collection = await api.collection()
    device = await api.device(collection)
    path = f"/span/collections/{collection}"
    api.receive(device)
    api.fleet.clock.shift(3601)
    api.receive(device)
    now = str(api.fleet.clock.time_ns() // 1_000_000)
    plain = (await api.call("GET", path)).body
    both = (await api.call("GET", f"{path}?upstream=true&downstream=1")).body

    assert not {"upstreamTimestamps", "downstreamTimestamps"} & plain.keys()
    assert both["upstreamTimestamps"] == [now]
    assert both["downstreamTimestamps"] == []


async def test_a_collection_that_changes_while_other_nodes_are_asked_is_counted_as_it_is_then(
    api: WebBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it is gone."""
    collection = await api.collection()
    ask, path = api.fleet.live.values, f"/span/collections/{collection}"

    async def add(asked: Collection) -> Values:
        await api.device(collection)
        return await ask(asked)

    async def remove(asked: Collection) -> Values:
        await api.fleet.collections.remove(asked)
        return Values()

    monkeypatch.setattr(api.fleet.live, "values", add)
    counted = await api.call("GET", f"{path}/stats")
    (device,) = api.fleet.directory.devices.values()
    await api.fleet.devices.remove(device, cause=1)
    monkeypatch.setattr(api.fleet.live, "values", remove)
    gone = await api.call("GET", f"{path}/stats")

    assert counted.body["deviceCount"] == 1
    assert gone.problem == (404, f"There is no collection {collection}")


async def test_a_flag_is_true_or_false(api: WebBench) -> None:
    collection = await api.collection()
    reply = await api.call("GET", f"/span/collections/{collection}?upstream=perhaps")

    assert reply.problem == (400, "upstream: 'perhaps' is not true or false")


async def test_a_collection_counts_its_devices_and_their_messages(api: WebBench) -> None:
    """With the nested totals that Span has."""
    collection = await api.collection()
    for payload in (b"1", b"22"):
        api.receive(await api.device(collection), payload)
    stats = (await api.call("GET", f"/span/collections/{collection}/stats")).body

    assert stats["deviceCount"] == 2
    assert stats["devices"] == {
        "bytesUpstream": "3",
        "bytesDownstream": "0",
        "messagesUpstream": "2",
        "messagesDownstream": "0",
        "sessionCount": 2,
    }
    assert stats["firmware"] == {"firmwareImageSize": 0}


async def test_created_resources_survive_a_restart(api: WebBench) -> None:
    """A reply means that the collection is in the registry."""
    collection = await api.collection(tags={"name": "x"})
    device = await api.device(collection, config={"ciot": {"imsi": "242016000000001"}})
    message = await api.call(
        "POST", f"/span/collections/{collection}/devices/{device}/outbox", json={"payload": "aGk="}
    )
    contents = await api.fleet.store.load()

    assert [each.tags for each in contents.collections] == [{"name": "x"}]
    assert [each.config.imsi for each in contents.devices] == ["242016000000001"]
    assert [each.payload for each in contents.downstream] == [b"hi"]
    assert message.status == 200
