"""Pages of every list, and changes that are made only to the version that the client has seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from span_events.client.api import refusal
from span_events.errors import PreconditionFailed
from tests.web.conftest import WebBench, web_bench


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API."""
    async with web_bench(tmp_path) as bench:
        yield bench


async def listed(api: WebBench, path: str) -> list[dict[str, Any]]:
    """Return what a list holds."""
    reply = await api.call("GET", path)
    assert reply.status == 200, reply.body
    return next(each for each in reply.body.values() if isinstance(each, list))


async def pages(api: WebBench, path: str, key: str) -> list[list[str]]:
    """Read a list in pages of two, each behind the last item of the one before."""
    found: list[list[str]] = []
    offset = ""
    while page := await listed(api, f"{path}?limit=2&offset={offset}"):
        found.append([each[key] for each in page])
        offset = page[-1][key]
    return found


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("devices", "deviceId"),
        ("gateways", "gatewayId"),
        ("firmware", "imageId"),
        ("outputs", "outputId"),
        ("certs", "certificateSerial"),
    ],
)
async def test_clients_11_pages_of_a_list_are_the_list(api: WebBench, kind: str, key: str) -> None:
    collection = await api.collection()
    base = f"/span/collections/{collection}"
    device = await api.device(collection)
    for number in range(5):
        await api.device(collection)
        await api.gateway(collection)
        await api.image(collection, f"{number}.0")
        webhook = {"type": "webhook", "config": {"url": f"http://192.0.2.1/{number}"}}
        assert (await api.call("POST", f"{base}/outputs", json=webhook)).status == 200
        await api.call("POST", f"{base}/certificates/create", json={"deviceId": device})
    path = f"{base}/devices/{device}/certs" if kind == "certs" else f"{base}/{kind}"
    everything = [each[key] for each in await listed(api, path)]
    found = await pages(api, path, key)

    assert len(everything) >= 5
    assert [len(each) for each in found[:-1]] == [2] * (len(found) - 1)
    assert sorted(chain.from_iterable(found)) == sorted(everything)


async def test_clients_11_pages_of_collections_are_the_list(api: WebBench) -> None:
    made = [await api.collection() for _ in range(3)]

    assert await pages(api, "/span/collections", "collectionId") == [made[:2], made[2:]]


async def test_clients_11_a_moved_device_is_on_one_page(api: WebBench) -> None:
    """It stands where its id belongs, so that no page has it twice or skips it."""
    first, second = await api.collection(), await api.collection()
    moved = await api.device(first)
    others = [await api.device(second) for _ in range(3)]
    await api.call("PATCH", f"/span/collections/{first}/devices/{moved}", json={"collectionId": second})

    found = await pages(api, f"/span/collections/{second}/devices", "deviceId")

    assert found == [[moved, others[0]], others[1:]]


async def path_of(api: WebBench, kind: str) -> str:
    """Create a resource and return its path."""
    collection = await api.collection()
    if kind == "collections":
        return f"/span/collections/{collection}"
    name = await (api.device(collection) if kind == "devices" else api.gateway(collection))
    return f"/span/collections/{collection}/{kind}/{name}"


@pytest.mark.parametrize("kind", ["collections", "devices", "gateways"])
async def test_clients_11_a_change_of_another_version_is_refused(api: WebBench, kind: str) -> None:
    """412 with the version that there is; the change with that one succeeds."""
    path = await path_of(api, kind)
    seen = (await api.call("GET", path)).headers["etag"]
    changed = await api.call("PATCH", path, json={"tags": {"by": "a"}}, headers={"If-Match": seen})
    refused = await api.call("PATCH", path, json={"tags": {"by": "b"}}, headers={"If-Match": seen})
    present = (await api.call("GET", path)).headers["etag"]
    again = await api.call("PATCH", path, json={"tags": {"by": "b"}}, headers={"If-Match": f'"x", {present}'})

    assert (changed.status, changed.headers["etag"]) == (200, present)
    assert refused.problem == (412, f"If-Match names another version; the present one is {present}")
    assert present != seen
    assert (again.status, again.body["tags"]["by"]) == (200, "b")


@pytest.mark.parametrize("kind", ["collections", "devices", "gateways"])
async def test_clients_11_of_two_changes_at_once_one_is_refused(api: WebBench, kind: str) -> None:
    """The version is compared while no other change can begin."""
    path = await path_of(api, kind)
    headers = {"If-Match": (await api.call("GET", path)).headers["etag"]}
    replies = await asyncio.gather(
        *(api.call("PATCH", path, json={"tags": {"by": str(number)}}, headers=headers) for number in range(5))
    )

    assert sorted(each.status for each in replies) == [200, 412, 412, 412, 412]


async def test_clients_11_a_message_leaves_the_version_of_its_device(api: WebBench) -> None:
    """A device that sends all the time can still be changed."""
    path = await path_of(api, "devices")
    before = await api.call("GET", path)
    api.receive(before.body["deviceId"])
    after = await api.call("GET", path)

    assert before.body["lastReceived"] != after.body["lastReceived"]
    assert before.headers["etag"] == after.headers["etag"]


async def test_clients_11_any_version_is_a_star(api: WebBench) -> None:
    path = await path_of(api, "devices")
    reply = await api.call("PATCH", path, json={"enabled": False}, headers={"If-Match": "*"})

    assert reply.status == 200


def test_clients_11_the_client_knows_the_refusal() -> None:
    assert isinstance(refusal(412, b'{"detail": "x"}', has_token=True), PreconditionFailed)
