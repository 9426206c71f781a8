"""Firmware images over REST."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from span_events import ids
from span_events.events.message import Transport
from span_events.events.reasons import FirmwareState
from span_events.wire.fota import Report
from tests.bench.waiting import until
from tests.web.conftest import IN_MODULE, Reply, WebBench, web_bench

PIECE = 65_536


@pytest.fixture
async def large(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API with its own limits, but for the number of uploads."""
    async with web_bench(tmp_path, firmware={"uploads": 2}) as bench:
        yield bench


def body(octets: bytes = b"octets", **fields: Any) -> dict[str, Any]:
    """Make the body of an upload."""
    return {"image": base64.b64encode(octets).decode(), "version": "1.0", "filename": "fw.bin", **fields}


def pieces(octets: bytes, **fields: Any) -> Iterator[bytes]:
    """Make the same in pieces, the image last."""
    yield json.dumps({"version": "1.0", **fields})[:-1].encode() + b', "image": "'
    for start in range(0, len(octets), PIECE // 4 * 3):
        yield base64.b64encode(octets[start : start + PIECE // 4 * 3])
    yield b'"}'


async def sent(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Let aiohttp send the pieces one by one."""
    for each in parts:
        yield each


def files(api: WebBench) -> list[str]:
    """List the files of images."""
    return sorted(each.name for each in (api.fleet.folder / "firmware").iterdir())


async def post(api: WebBench, collection: str, **options: Any) -> Reply:
    return await api.call("POST", f"/span/collections/{collection}/firmware", **options)


async def test_an_image_that_was_uploaded_is_shown_and_listed(api: WebBench) -> None:
    """All three replies are the same document, without the image's octets."""
    collection = await api.collection()
    created = (await post(api, collection, json=body(b"octets", tags={"name": "x"}))).body
    shown = (await api.call("GET", f"/span/collections/{collection}/firmware/{created['imageId']}")).body
    listed = (await api.call("GET", f"/span/collections/{collection}/firmware")).body

    assert created == {
        "imageId": created["imageId"],
        "collectionId": collection,
        "version": "1.0",
        "filename": "fw.bin",
        "sha256": hashlib.sha256(b"octets").hexdigest(),
        "length": 6,
        "created": str(api.fleet.clock.time_ns() // 1_000_000),
        "tags": {"name": "x"},
        "enabled": True,
    }
    assert created == shown
    assert listed == {"images": [shown]}
    assert files(api) == [created["imageId"]]


async def test_an_image_is_larger_than_other_bodies(api: WebBench) -> None:
    """http.max_body bounds the other fields."""
    collection = await api.collection()
    octets = os.urandom(100_000)
    reply = await post(api, collection, json=body(octets))
    refused = await post(api, collection, json=body(b"x", tags={str(number): "x" * 1000 for number in range(20)}))

    assert (reply.status, reply.body["length"]) == (200, 100_000)
    assert api.fleet.image_file(ids.parse(reply.body["imageId"])).read_bytes() == octets
    assert refused.problem == (413, "The body is over 20000 octets (http.max_body), the image not counted")


async def test_the_largest_image_leaves_no_memory_behind(large: WebBench) -> None:
    """16 MiB are 22 MB of base64 in memory while they are decoded; firmware.uploads bounds how many at once."""
    collection = await large.collection()
    octets = os.urandom(1 << 20) * 16
    tracemalloc.start()
    try:
        reply = await post(large, collection, data=sent(pieces(octets)))
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (reply.status, reply.body["length"]) == (200, 16_777_216)
    assert reply.body["sha256"] == hashlib.sha256(octets).hexdigest()
    assert left < 4_000_000


async def test_an_image_over_the_limit_is_refused(large: WebBench) -> None:
    """At once by its Content-Length, else at the first octet over the limit."""
    collection = await large.collection()
    told = await post(large, collection, data=b"", headers={"Content-Length": "99999999", "Connection": "close"})
    counted = await post(large, collection, data=sent(pieces(bytes(16_777_217))))

    assert told.problem == (
        413,
        "image: a body of 99999999 octets holds more than 16777216 octets (firmware.max_image)",
    )
    assert counted.problem == (413, "image: is over 16777216 octets (firmware.max_image)")
    assert files(large) == []


async def test_an_upload_that_pauses_ends(tmp_path: Path) -> None:
    """And leaves nothing."""

    async def stall() -> AsyncIterator[bytes]:
        yield b'{"image": "AAAA'
        await asyncio.Event().wait()

    async with web_bench(tmp_path, firmware={"upload_pause": 0.1}) as api:
        reply = await post(api, await api.collection(), data=stall())

        assert reply.problem == (408, "Nothing of the upload came for 0.1 s (firmware.upload_pause)")
        assert files(api) == []


async def test_an_upload_that_takes_too_long_ends(tmp_path: Path) -> None:
    """Also if its octets arrive steadily."""
    async with web_bench(tmp_path, firmware={"upload_timeout": 0.01}) as api:
        collection = await api.collection()

        async def trickle() -> AsyncIterator[bytes]:
            yield b'{"image": "'
            while True:
                await asyncio.sleep(0)
                yield b"AAAA"

        reply = await post(api, collection, data=trickle())

    assert reply.problem == (408, "The upload took more than 0.01 s (firmware.upload_timeout)")


async def test_a_disconnected_upload_leaves_no_file(api: WebBench) -> None:
    collection = await api.collection()
    host, _, port = api.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /span/collections/{collection}/firmware HTTP/1.1\r\nHost: x\r\nX-API-Token: {api.admin}\r\n"
        'Content-Length: 1000\r\n\r\n{"image": "AAAA'.encode()
    )
    await until(lambda: len(files(api)) == 1)
    writer.close()
    await until(lambda: files(api) == [])

    assert len(api.fleet.directory.images) == 0


async def test_so_many_uploads_at_once_are_taken(large: WebBench) -> None:
    """A further one gets 503; other requests go on."""
    collection = await large.collection()
    go_on = asyncio.Event()

    async def wait() -> AsyncIterator[bytes]:
        first, *others = pieces(os.urandom(9), version=os.urandom(4).hex())
        yield first
        await go_on.wait()
        for each in others:
            yield each

    two = [asyncio.ensure_future(post(large, collection, data=wait())) for _ in range(2)]
    await until(lambda: len(files(large)) == 2)
    refused = await post(large, collection, json=body())
    go_on.set()
    replies = await asyncio.gather(*two)

    assert refused.problem == (429, "2 images are being uploaded already, at most 2 (firmware.uploads)")
    assert [each.status for each in replies] == [200, 200]
    assert (await post(large, collection, json=body())).status == 200


@IN_MODULE
@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        (
            {"image": "AAAAAAAAAAAAAAAA AAA"},
            "image: is not base64 at character 17: a character that is no digit of base64",
        ),
        ({"image": ""}, "image: is empty"),
        ({"image": None}, "image: null is not text"),
        ({"version": None}, "version: null is not text"),
        ({"version": ""}, 'version: "" has 0 octets, not 1 to 255'),
        ({"version": "é" * 128}, f'version: "{"é" * 47}… has 256 octets, not 1 to 255'),
        (
            {"version": "1.0\n"},
            'version: "1.0\\n" is not what a device would report: it has control characters or spaces around it',
        ),
        ({"filename": "x" * 256}, "filename: has 256 characters, at most 255"),
        ({"filename": "a\0"}, 'filename: "a\\u0000" has the character NUL, which PostgreSQL cannot store'),
        ({"tags": {"a": 1}}, "tags.a: 1 is not text"),
    ],
)
async def test_faults_of_an_upload_are_named(shared_api: WebBench, changes: dict[str, Any], detail: str) -> None:
    collection = await shared_api.collection()
    reply = await post(shared_api, collection, json=body() | changes)

    assert reply.problem == (400, detail)
    assert reply.body["field"] == detail.partition(":")[0]
    assert files(shared_api) == []


@pytest.mark.parametrize(("version", "octets", "field"), [("1.0", b"other", "version"), ("1.1", b"1.0", "image")])
async def test_an_image_that_is_there_already_is_a_conflict(
    api: WebBench, version: str, octets: bytes, field: str
) -> None:
    collection = await api.collection()
    image = await api.image(collection, "1.0")
    reply = await post(api, collection, json=body(octets, version=version))

    status, detail = reply.problem
    assert (status, reply.body["field"]) == (409, field)
    assert image in detail
    assert files(api) == [image]


async def test_a_patch_changes_only_its_fields(api: WebBench) -> None:
    """Tags are merged; null and empty text change nothing."""
    collection = await api.collection()
    path = f"/span/collections/{collection}/firmware/{await api.image(collection)}"
    before = (await api.call("GET", path)).body
    unchanged = [
        (await api.call("PATCH", path, json=each)).body
        for each in (
            {},
            {"tags": {}, "version": "", "collectionId": ""},
            {"tags": None, "version": None, "enabled": None, "collectionId": collection},
        )
    ]
    changed = await api.call("PATCH", path, json={"version": "1.1", "tags": {"a": "b"}, "enabled": False})

    assert unchanged == [before] * 3
    assert changed.body == {**before, "version": "1.1", "tags": {"a": "b"}, "enabled": False}


async def test_an_image_moves_where_the_token_may_write(api: WebBench) -> None:
    old, new = await api.collection(), await api.collection()
    image = await api.image(old)
    token = await api.token(f"/collections/{old}", write=True)
    path = f"/span/collections/{old}/firmware/{image}"
    refused = await api.call("PATCH", path, json={"collectionId": new}, token=token)
    moved = await api.call("PATCH", path, json={"collectionId": new})
    gone = await api.call("GET", path)

    assert refused.problem[0] == 403
    assert refused.problem[1].startswith(f"collectionId: the image cannot be moved to {new}: ")
    assert moved.body["collectionId"] == new
    assert gone.problem == (404, f"There is no image {image} in collection {old}")


async def test_an_image_that_is_a_target_stays(api: WebBench) -> None:
    """The conflict names the users of the image and a hint."""
    collection = await api.collection()
    image = await api.image(collection)
    device = await api.device(collection, firmware={"targetFirmwareId": image})
    path = f"/span/collections/{collection}/firmware/{image}"
    refused = await api.call("DELETE", path)
    cleared = {"firmware": {"targetFirmwareId": ""}}
    await api.call("PATCH", f"/span/collections/{collection}/devices/{device}", json=cleared)
    deleted = await api.call("DELETE", path)
    gone = await api.call("GET", path)

    assert refused.problem == (409, f"Image {image} (version 1.0) is the target of device {device}")
    assert refused.body["hint"].startswith("Give them another target first")
    assert deleted.body["imageId"] == image
    assert gone.problem[0] == 404


@pytest.mark.parametrize("what", ["devices", "collection"])
async def test_a_target_that_the_collection_does_not_have_is_refused(api: WebBench, what: str) -> None:
    """Of a device or of the collection; the field is named."""
    collection = await api.collection()
    device = await api.device(collection)
    foreign = await api.image(await api.collection())
    path = f"/span/collections/{collection}" + (f"/devices/{device}" if what == "devices" else "")
    reply = await api.call("PATCH", path, json={"tags": {"a": "b"}, "firmware": {"targetFirmwareId": foreign}})
    after = (await api.call("GET", path)).body

    assert reply.problem == (
        400,
        f"firmware.targetFirmwareId: there is no image {foreign} in collection {collection}",
    )
    assert reply.body["field"] == "firmware.targetFirmwareId"
    assert (after["tags"], after["firmware"]["targetFirmwareId"]) == ({}, "0")


async def test_usage_and_size_are_shown(api: WebBench) -> None:
    """The ids of devices, those with the collection's target included."""
    collection = await api.collection()
    image = await api.image(collection, octets=b"12345")
    own = await api.device(collection, firmware={"targetFirmwareId": image})
    runs = await api.device(collection)
    api.known(runs).firmware.current_firmware_id = ids.parse(image)
    path = f"/span/collections/{collection}"
    usage = (await api.call("GET", f"{path}/firmware/{image}/usage")).body
    await api.call("PATCH", path, json={"firmware": {"management": "collection", "targetFirmwareId": image}})
    wider = (await api.call("GET", f"{path}/firmware/{image}/usage")).body
    stats = [(await api.call("GET", f"{path}/{each}")).body for each in (f"firmware/{image}/stats", "stats")]

    assert usage == {"imageId": image, "targeted": [own], "current": [runs]}
    assert wider["targeted"] == [own, runs]
    assert stats[0] == {"firmwareImageSize": 5}
    assert (stats[1]["firmwareCount"], stats[1]["firmware"]) == (1, {"firmwareImageSize": 5})


async def test_a_collection_with_images_stays(api: WebBench) -> None:
    collection = await api.collection()
    await api.image(collection)
    refused = await api.call("DELETE", f"/span/collections/{collection}")

    assert refused.problem == (409, f"Collection {collection} still has 1 firmware image")


@pytest.mark.parametrize(
    ("resource", "write", "statuses"),
    [
        ("/", False, {"GET": 200, "POST": 403, "PATCH": 403, "DELETE": 403}),
        ("/collections/{c}", True, {"GET": 200, "POST": 200, "PATCH": 200, "DELETE": 200}),
        ("/collections/{other}", True, {"GET": 403, "POST": 403, "PATCH": 403, "DELETE": 403}),
    ],
)
async def test_images_are_as_far_away_as_their_collection(
    api: WebBench, resource: str, write: bool, statuses: dict[str, int]
) -> None:
    """For tokens."""
    collection, other = await api.collection(), await api.collection()
    image = await api.image(collection)
    token = await api.token(resource.format(c=collection, other=other), write=write)
    found = {}
    for method in statuses:
        path = f"/span/collections/{collection}/firmware" + ("" if method == "POST" else f"/{image}")
        sends = {"json": body(version="2.0")} if method == "POST" else {}
        found[method] = (await api.call(method, path, token=token, **sends)).status

    assert found == statuses


async def test_created_resources_survive_a_restart(tmp_path: Path) -> None:
    """Images, targets, and the versions of devices."""
    async with web_bench(tmp_path) as api:
        collection = await api.collection()
        image = await api.image(collection)
        await api.device(collection, firmware={"targetFirmwareId": image})
        contents = await api.fleet.store.load()

    assert [ids.render(each.id) for each in contents.images] == [image]
    assert [ids.render(each.firmware.target_firmware_id) for each in contents.devices] == [image]


async def updating(api: WebBench) -> tuple[str, str, str]:
    """Create a device that has reported another version than its target; return collection, device and image."""
    collection = await api.collection(firmware={"management": "device"})
    image = await api.image(collection, "1.1")
    device = await api.device(collection, firmware={"targetFirmwareId": image})
    api.fleet.firmware.report(api.known(device), Report("1.0"), remote=("10.0.0.9", 4000), transport=Transport.COAP)
    return collection, device, image


async def test_a_device_shows_the_state_of_its_update(api: WebBench) -> None:
    """Span reads these with PATCH; a token that may only read is enough."""
    collection, device, image = await updating(api)
    path = f"/span/collections/{collection}/devices/{device}"
    token = await api.token(f"/collections/{collection}")
    state = (await api.call("PATCH", f"{path}/fotastate", token=token)).body
    log = (await api.call("PATCH", f"{path}/fotalog", token=token)).body

    now = str(api.fleet.clock.time_ns() // 1_000_000)
    (found,) = state["state"].pop("state")
    assert found.pop("message")
    assert found == {
        "collectionId": collection,
        "deviceId": device,
        "imageId": image,
        "updated": now,
        "state": "Pending",
    }
    entry = {"deviceId": device, "imageId": "0", "imageVersion": "1.0", "imageLabel": "", "reported": now}
    assert log == {"collectionId": collection, "log": [entry]}


async def test_a_device_that_never_reported_has_no_history(api: WebBench) -> None:
    collection = await api.collection()
    device = await api.device(collection)
    log = await api.call("PATCH", f"/span/collections/{collection}/devices/{device}/fotalog", json={})

    assert log.body == {"collectionId": collection, "log": []}


async def test_a_writing_token_clears_an_error(api: WebBench) -> None:
    """The reply is the state then; the events say so, too."""
    collection, device, _ = await updating(api)
    api.known(device).firmware.state = FirmwareState.UPDATE_FAILED.value
    api.fleet.activities.clear()
    path = f"/span/collections/{collection}/devices/{device}/fwerror"
    refused = await api.call("DELETE", path, token=await api.token())
    cleared = await api.call("DELETE", path)

    assert refused.problem[0] == 403
    assert cleared.body == {"result": "Initializing"}
    assert api.fleet.names == ["firmwareStateChange"]


async def test_targets_follow_changes_of_collections_and_images(api: WebBench) -> None:
    """Every way that the API has; each device's state follows at once."""
    collection, device, image = await updating(api)
    path = f"/span/collections/{collection}"
    seen = []
    for what, changes in (
        ("", {"firmware": {"management": "disabled"}}),
        ("", {"firmware": {"management": "device"}}),
        (f"/firmware/{image}", {"enabled": False}),
        (f"/firmware/{image}", {"enabled": True}),
        (f"/devices/{device}", {"firmware": {"targetFirmwareId": ""}}),
        ("", {"firmware": {"targetFirmwareId": image}}),
        (f"/firmware/{image}", {"version": "1.0"}),
    ):
        reply = await api.call("PATCH", path + what, json=changes)
        assert reply.status == 200, reply.body
        seen.append(api.known(device).firmware.state)

    assert seen == ["Current", "Pending", "Current", "Pending", "Current", "Pending", "Current"]
    assert ids.render(api.known(device).firmware.current_firmware_id) == image


@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("POST", ""), ("GET", "/17dh0cf43jfgl8"), ("DELETE", "/x/y")]
)
async def test_labeled_firmware_is_refused_as_not_served(api: WebBench, method: str, rest: str) -> None:
    """501, not a refusal of "labeled" as an id."""
    collection = await api.collection()
    reply = await api.call(method, f"/span/collections/{collection}/firmware/labeled{rest}")

    assert reply.problem == (501, "Labeled firmware is not served here")


async def test_an_image_that_moves_nowhere_names_the_field_of_the_body(api: WebBench) -> None:
    """``collectionId``, not ``collection`` of the path."""
    collection = await api.collection()
    image = await api.image(collection, "1.1")
    path = f"/span/collections/{collection}/firmware/{image}"
    reply = await api.call("PATCH", path, json={"collectionId": "17dh0cf43jfgl8"})

    assert reply.problem == (404, "There is no collection 17dh0cf43jfgl8")
    assert reply.body["field"] == "collectionId"


async def test_a_malformed_image_id_is_refused_in_plain_words(api: WebBench) -> None:
    collection = await api.collection()
    reply = await api.call("GET", f"/span/collections/{collection}/firmware/XYZ")

    assert reply.problem[1].startswith("'XYZ' is not an image id: ")
