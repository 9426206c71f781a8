"""``simulate --firmware`` against an API that records."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from span_events.simulator.firmware.device import version_of
from tests.cli.bench import COLLECTION, DEVICE, Api, problem
from tests.cli.simulate.ending import BRIEF
from tests.cli.simulate.test_devices import COLLECTIONS, DEVICES, OURS, api, known, simulate
from tests.simulator.responder import Responder

IMAGE, EARLIER, SOMEBODYS = "17kl1b3c9d4e20", "17kl1b3c9d4e21", "17kl1b3c9d4e22"
IMAGES = f"{COLLECTIONS}/{COLLECTION}/firmware"
DEVICE_PATH = f"{DEVICES}/{DEVICE}"
HERE = f"{COLLECTIONS}/{COLLECTION}"
ONE = ("--firmware", "--devices", "1", "--transport", "udp", *BRIEF)
MARKED = {"simulated": "true"}


def api_with_images(
    images: list[dict[str, Any]] | None = None, *, management: str = "disabled", devices: list[Any] | None = None
) -> Api:
    """Build an API whose collection has images, and accepts more."""
    there = api(devices)
    collection = {"collectionId": COLLECTION, **OURS, "firmware": {"management": management}}
    there.replies |= {
        f"GET {HERE}": collection,
        f"PATCH {HERE}": collection,
        f"GET {IMAGES}": {"images": images or []},
        f"POST {IMAGES}": {"imageId": IMAGE},
        f"PATCH {DEVICE_PATH}": known("127.78.0.1"),
        **{f"DELETE {IMAGES}/{each}": {"imageId": each} for each in (IMAGE, EARLIER)},
    }
    return there


async def test_an_image_is_made_and_is_the_target_of_the_devices() -> None:
    """Each device has its own, so the others of the collection keep theirs."""
    with Responder() as server:
        async with api_with_images() as there:
            result = await simulate(there, server, *ONE)

    management, target = (call for call in there.calls if call.method == "PATCH")
    (image,) = (call.body for call in there.calls if call.path == IMAGES and call.method == "POST")
    octets = base64.b64decode(image["image"])
    assert result.exit_code == 0, result.stderr
    assert (management.path, management.body) == (HERE, {"firmware": {"management": "device"}})
    assert (target.path, target.body) == (DEVICE_PATH, {"firmware": {"targetFirmwareId": IMAGE}})
    assert (image["version"], version_of(octets), len(octets)) == ("1.1.0", "1.1.0", 20_480)
    assert image["tags"] == {"name": "simulated-firmware", "simulated": "true"}


async def test_each_run_counts_the_version_up_and_deletes_the_image_of_an_earlier_one() -> None:
    """Resources of users remain."""
    images = [
        {"imageId": EARLIER, "version": "1.1.0", "tags": MARKED},
        {"imageId": SOMEBODYS, "version": "1.2.0", "tags": {}},
    ]
    with Responder() as server:
        async with api_with_images(images, management="device") as there:
            await simulate(there, server, *ONE)

    changes = [(call.method, call.path) for call in there.calls if call.method in ("PATCH", "DELETE")]
    assert [call.body["version"] for call in there.calls if call.path == IMAGES and call.body] == ["1.3.0"]
    assert changes == [("PATCH", DEVICE_PATH), ("DELETE", f"{IMAGES}/{EARLIER}")]


async def test_an_image_that_another_run_uses_stays() -> None:
    images = [{"imageId": EARLIER, "version": "1.1.0", "tags": MARKED}]
    with Responder() as server:
        async with api_with_images(images) as there:
            there.replies[f"DELETE {IMAGES}/{EARLIER}"] = (409, problem(409, "is the target of 3 devices"))
            result = await simulate(there, server, *ONE, "--cleanup")

    assert result.exit_code == 0, result.stderr


async def test_cleaning_up_deletes_devices_then_the_image_then_the_collection() -> None:
    """In the other order the server would refuse the deletion."""
    with Responder() as server:
        async with api_with_images() as there:
            result = await simulate(there, server, *ONE, "--cleanup")

    assert result.exit_code == 0, result.stderr
    assert [call.path for call in there.calls if call.method == "DELETE"] == [DEVICE_PATH, f"{IMAGES}/{IMAGE}", HERE]


async def test_a_device_that_a_person_made_gets_no_target() -> None:
    with Responder() as server:
        async with api_with_images(devices=[known("127.78.0.1", ours=False)], management="device") as there:
            result = await simulate(there, server, *ONE)

    assert result.exit_code == 0, result.stderr
    assert not [call for call in there.calls if call.method == "PATCH"]


@pytest.mark.parametrize("management", ["disabled", "collection"])
async def test_the_firmware_management_of_a_users_collection_is_not_changed(management: str) -> None:
    """The collection's target would affect all of its devices, so the command refuses before any creation."""
    with Responder() as server:
        async with api_with_images() as there:
            there.replies[f"GET {HERE}"] = {"collectionId": COLLECTION, "firmware": {"management": management}}
            result = await simulate(there, server, "-c", COLLECTION, *ONE)

    assert result.exit_code == 1
    assert f"error: The firmware management of collection {COLLECTION} is {management}; --firmware" in result.stderr
    assert "Leave out -c" in result.stderr
    assert [call.method for call in there.calls] == ["GET"]
    assert server.received == []


async def test_faults_of_updates_belong_to_the_option() -> None:
    async with api() as there:
        result = await there.run("simulate", "--fault", "stalledDownload")

    assert result.exit_code == 2
    assert "The fault stalledDownload happens in a firmware update" in result.stderr
    assert "Give --firmware" in result.stderr
    assert there.calls == []
