"""``…/blobs``: listed, downloaded octet for octet, deleted; and the needs of Span's command line."""

from __future__ import annotations

import pytest

from span_events import ids
from span_events.events.message import Transport
from tests.web.conftest import WebBench

PHOTO = b"\xff\xd8\xff photo " + bytes(range(256)) * 1000


async def store(api: WebBench, device: str, octets: bytes = PHOTO, declared: str = "") -> str:
    """Upload a blob as a listener would, and return its id."""
    blobs = api.fleet.blobs
    with blobs.upload(
        api.known(device), size=len(octets), remote=("10.0.0.9", 4000), transport=Transport.HTTP
    ) as upload:
        await upload.write(octets)
        properties = {"address": "10.0.0.9:4000", "method": "POST", "path": "/camera"}
        return ids.render((await blobs.finish(upload, properties=properties, declared=declared)).id)


async def collection_with_device(api: WebBench) -> tuple[str, str, str]:
    """Make a collection with a device; return the path of its blobs, too."""
    collection = await api.collection()
    return collection, await api.device(collection), f"/span/collections/{collection}/blobs"


async def test_a_blob_is_listed_as_span_lists_it(api: WebBench) -> None:
    """Numbers as text; `created` in nanoseconds, without which Span's `blob ls` fails."""
    collection, device, path = await collection_with_device(api)
    blob = await store(api, device)
    reply = await api.call("GET", path)

    assert reply.body == {
        "blobs": [
            {
                "blobId": blob,
                "blobPath": f"/span/collections/{collection}/blobs/{blob}",
                "contentType": "image/jpeg",
                "size": str(len(PHOTO)),
                "created": str(api.fleet.clock.time_ns()),
                "collectionId": collection,
                "deviceId": device,
                "gatewayId": "3",
                "properties": {"address": "10.0.0.9:4000", "method": "POST", "path": "/camera"},
            }
        ]
    }


@pytest.mark.parametrize("left", [None, b"phot"])
async def test_a_blob_with_a_broken_file_is_not_sent(api: WebBench, left: bytes | None) -> None:
    """The reply is an error, not a partial blob; deletion still works."""
    _, device, path = await collection_with_device(api)
    blob = await store(api, device)
    file = api.fleet.blob_file(next(api.fleet.directory.blobs.of(api.known(device).collection.id)))
    if left is None:
        file.unlink()
    else:
        file.write_bytes(left)
    reply = await api.call("GET", f"{path}/{blob}")
    await api.call("DELETE", f"{path}/{blob}")

    assert (reply.status, reply.body.get("code")) == (503, 14), reply.body
    assert (await api.call("GET", path)).body == {"blobs": []}


async def test_a_blob_is_got_octet_for_octet(api: WebBench) -> None:
    """With status 200, the only one that Span's `blob get` takes; at the blob's blobPath."""
    _, device, path = await collection_with_device(api)
    await store(api, device)
    (listed,) = (await api.call("GET", path)).body["blobs"]
    async with api.session.get(api.url + listed["blobPath"], headers={"X-API-Token": api.admin}) as reply:
        octets = await reply.read()

    assert (reply.status, octets) == (200, PHOTO)
    assert reply.headers["Content-Type"] == "image/jpeg"
    assert reply.headers["Content-Length"] == str(len(PHOTO))


async def test_a_blob_can_do_no_harm_in_a_browser(api: WebBench) -> None:
    """A device may declare a web page; a browser must not run the page on this origin."""
    _, device, path = await collection_with_device(api)
    blob = await store(api, device, b"<script>alert(1)</script>", "text/html")
    reply = await api.call("GET", f"{path}/{blob}")

    assert reply.headers["content-type"] == "text/html"
    assert reply.headers["content-disposition"] == "attachment"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"].startswith("sandbox")


async def test_the_newest_blobs_come_first(api: WebBench) -> None:
    """As many as are asked for, from any point on; `start` and `end` are milliseconds."""
    _, device, path = await collection_with_device(api)
    made = []
    for _ in range(4):
        made.append(await store(api, device, b"x"))
        api.fleet.clock.shift(1.0)
    second_ms = api.fleet.directory.blobs.find(*_ids(path, made[1])).created_ns // 1_000_000

    async def listed(query: str) -> list[str]:
        return [each["blobId"] for each in (await api.call("GET", f"{path}?{query}")).body["blobs"]]

    assert await listed("") == made[::-1]
    assert await listed("limit=2") == [made[3], made[2]]
    assert await listed(f"limit=2&offset={made[2]}") == [made[1], made[0]]
    assert await listed(f"start={second_ms}&end={second_ms}") == [made[1]]


async def test_a_deleted_blob_is_gone_and_its_file_too(api: WebBench) -> None:
    _, device, path = await collection_with_device(api)
    blob = await store(api, device)
    file = api.fleet.folder / "blobs" / blob
    was_there = file.exists()
    deleted = await api.call("DELETE", f"{path}/{blob}")
    again = await api.call("DELETE", f"{path}/{blob}")
    gone = await api.call("GET", f"{path}/{blob}")

    assert was_there
    assert not file.exists()
    assert (deleted.status, deleted.body) == (200, {})
    assert again.problem == gone.problem
    assert gone.problem[0] == 404
    assert gone.body["field"] == "blob"


async def test_a_blob_is_not_found_in_another_collection(api: WebBench) -> None:
    """A token for one device does not reach the blobs of another."""
    _, device, _ = await collection_with_device(api)
    blob = await store(api, device)
    other = await api.collection()

    assert (await api.call("GET", f"/span/collections/{other}/blobs/{blob}")).status == 404
    assert (await api.call("DELETE", f"/span/collections/{other}/blobs/{blob}")).status == 404
    assert (await api.call("GET", f"/span/collections/{other}/blobs")).body == {"blobs": []}


async def test_a_token_must_reach_the_collection(api: WebBench) -> None:
    """A token for a device reaches that device's messages only; reading does not delete."""
    collection, device, path = await collection_with_device(api)
    blob = await store(api, device, b"text")
    of_device = await api.token(f"/collections/{collection}/devices/{device}")
    reader = await api.token(f"/collections/{collection}")
    calls = [("GET", path, of_device), ("GET", f"{path}/{blob}", of_device), ("DELETE", f"{path}/{blob}", reader)]

    assert [(await api.call(*call[:2], token=call[2])).status for call in calls] == [403, 403, 403]
    assert (await api.call("GET", f"{path}/{blob}", token=reader)).status == 200
    assert (await api.call("GET", f"{path}/{blob}", token=None)).status == 401


async def test_blobs_are_counted_in_the_statistics_of_their_collection(api: WebBench) -> None:
    """Octets as text."""
    collection, device, _ = await collection_with_device(api)
    for _ in range(2):
        await store(api, device, b"12345")
    stats = (await api.call("GET", f"/span/collections/{collection}/stats")).body

    assert (stats["blobCount"], stats["blobs"]) == (2, {"blobBytes": "10"})


async def test_a_blob_that_is_deleted_is_still_sent_to_the_end(api: WebBench) -> None:
    """The blob is sent from its file, which exists until the last reader closes the file."""
    _, device, path = await collection_with_device(api)
    blob = await store(api, device, bytes(8_000_000))
    async with api.session.get(f"{api.url}{path}/{blob}", headers={"X-API-Token": api.admin}) as reply:
        first = await reply.content.readexactly(1000)
        await api.call("DELETE", f"{path}/{blob}")
        rest = await reply.content.read()

    assert len(first) + len(rest) == 8_000_000


def _ids(path: str, blob: str) -> tuple[int, int]:
    return ids.parse(path.split("/")[3]), ids.parse(blob)
