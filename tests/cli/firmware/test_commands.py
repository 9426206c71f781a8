"""``firmware``: its requests and its output."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.bench import COLLECTION, DEVICE, TOKEN, Api, Call, device, problem

IMAGE = "17kl1b3c9d4e20"
COLLECTION_PATH = f"/span/collections/{COLLECTION}"
DEVICE_PATH = f"{COLLECTION_PATH}/devices/{DEVICE}"
IMAGES = f"{COLLECTION_PATH}/firmware"
ONE = f"{IMAGES}/{IMAGE}"
SHA256 = hashlib.sha256(b"octets").hexdigest()


def image(**changes: Any) -> dict[str, Any]:
    """Make an image as the API shows it."""
    return {
        "imageId": IMAGE,
        "collectionId": COLLECTION,
        "version": "1.1.0",
        "filename": "app.bin",
        "sha256": SHA256,
        "length": 6,
        "created": "1714076616000",
        "tags": {"build": "4711"},
        "enabled": True,
        **changes,
    }


def collection(management: str) -> dict[str, Any]:
    return {"collectionId": COLLECTION, "firmware": {"management": management, "targetFirmwareId": IMAGE}}


async def test_images_are_listed_as_a_table() -> None:
    images = [image(), image(version="1.0\x1b[2J", enabled=False, tags={}, filename="")]
    async with Api({f"GET {IMAGES}": {"images": images}}) as api:
        result = await api.run("firmware", "list", "-c", COLLECTION)

    heading, first, second = result.stdout.splitlines()
    assert heading.split() == ["IMAGE", "VERSION", "BYTES", "SHA-256", "ENABLED", "CREATED", "FILE", "TAGS"]
    assert first.split()[:5] == [IMAGE, "1.1.0", "6", SHA256[:12], "yes"]
    assert first.endswith("app.bin  build=4711")
    assert second.split()[:5] == [IMAGE, "1.0\\x1b[2J", "6", SHA256[:12], "no"]


async def test_an_empty_list_prints_a_hint() -> None:
    async with Api({f"GET {IMAGES}": {"images": []}}) as api:
        result = await api.run("firmware", "list", "-c", COLLECTION)

    assert result.stdout == ""
    assert "span-events firmware upload FILE --version" in result.stderr


async def test_uploading_sends_a_file_and_prints_the_id_alone(tmp_path: Path) -> None:
    """A script can use the id; details go to standard error."""
    path = tmp_path / "app.bin"
    path.write_bytes(b"octets")
    async with Api({f"POST {IMAGES}": image()}) as api:
        result = await api.run(
            *("firmware", "upload", "-c", COLLECTION, str(path), "--version", "1.1.0", "--tag", "build=4711")
        )

    body = {"image": base64.b64encode(b"octets").decode(), "version": "1.1.0", "filename": "app.bin"}
    assert api.last == Call("POST", IMAGES, body | {"tags": {"build": "4711"}}, TOKEN)
    assert result.stdout == f"{IMAGE}\n"
    assert f"hint: 6 octets, SHA-256 {SHA256}; `span-events firmware assign`" in result.stderr


async def test_a_refused_upload_shows_why(tmp_path: Path) -> None:
    path = tmp_path / "app.bin"
    path.write_bytes(b"octets")
    refusal = problem(409, "version: collection 17 has version 1.1.0 already", "Count it up.", "version")
    async with Api({f"POST {IMAGES}": (409, refusal)}) as api:
        result = await api.run("firmware", "upload", "-c", COLLECTION, str(path), "--version", "1.1.0")

    assert result.exit_code == 1
    assert result.stderr == "error: version: collection 17 has version 1.1.0 already\nhint: Count it up.\n"


async def test_a_missing_file_is_refused_before_any_request(tmp_path: Path) -> None:
    async with Api() as api:
        result = await api.run("firmware", "upload", "-c", COLLECTION, str(tmp_path / "x"), "--version", "1")

    assert result.exit_code == 2
    assert "No such file" in result.stderr
    assert api.calls == []


async def test_an_image_is_shown() -> None:
    async with Api({f"GET {ONE}": image()}) as api:
        result = await api.run("firmware", "show", "-c", COLLECTION, IMAGE)
        as_json = await api.run("firmware", "show", "-c", COLLECTION, "--json", env={"SPAN_IMAGE_ID": IMAGE})

    shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert shown["version"] == "1.1.0"
    assert shown["created"].startswith("2024-04-25 ")
    assert json.loads(as_json.stdout) == image()


async def test_a_missing_image_is_refused_with_the_command_that_lists_ids() -> None:
    refusal = problem(404, f"There is no image {IMAGE}", field="image")
    async with Api({f"GET {ONE}": (404, refusal)}) as api:
        result = await api.run("firmware", "show", "-c", COLLECTION, IMAGE)

    assert result.stderr.endswith("hint: `span-events firmware list` shows the ids.\n")


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["--disable"], {"enabled": False}),
        (["--version", "1.2", "--enable"], {"version": "1.2", "enabled": True}),
        (["--tag", "a=b"], {"tags": {"a": "b"}}),
    ],
)
async def test_update_sends_only_the_given_options(arguments: list[str], body: object) -> None:
    async with Api({f"PATCH {ONE}": image()}) as api:
        result = await api.run("firmware", "update", "-c", COLLECTION, IMAGE, *arguments)

    assert result.exit_code == 0
    assert api.last.body == body


async def test_updating_nothing_is_refused_before_any_request() -> None:
    async with Api() as api:
        result = await api.run("firmware", "update", "-c", COLLECTION, IMAGE)

    assert (result.exit_code, api.calls) == (2, [])
    assert "Nothing to change" in result.stderr


@pytest.mark.parametrize(("answer", "deleted"), [("y\n", True), ("n\n", False)])
async def test_deleting_asks_first(answer: str, deleted: bool) -> None:
    async with Api({f"DELETE {ONE}": image()}) as api:
        result = await api.run("firmware", "delete", "-c", COLLECTION, IMAGE, stdin=answer)

    assert [call.method for call in api.calls] == ["DELETE"] * deleted
    assert result.stdout == (f"{IMAGE}\n" if deleted else "")


@pytest.mark.parametrize(
    ("arguments", "firmware"),
    [
        ([IMAGE], {"targetFirmwareId": IMAGE}),
        ([IMAGE, "--management", "collection"], {"targetFirmwareId": IMAGE, "management": "collection"}),
        (["--version", "1.1.0"], {"targetFirmwareId": IMAGE}),
        (["--none", "--management", "disabled"], {"targetFirmwareId": "0", "management": "disabled"}),
    ],
)
async def test_an_image_is_assigned_to_a_collection(arguments: list[str], firmware: object) -> None:
    """By its id or its version."""
    replies = {f"PATCH {COLLECTION_PATH}": collection("collection"), f"GET {IMAGES}": {"images": [image()]}}
    async with Api(replies) as api:
        result = await api.run("firmware", "assign", "-c", COLLECTION, *arguments)

    assert api.last == Call("PATCH", COLLECTION_PATH, {"firmware": firmware}, TOKEN)
    assert (result.stdout, result.stderr) == (f"{COLLECTION}\n", "")


async def test_an_image_is_assigned_to_devices() -> None:
    """The collection is only read, or its management changed."""
    replies = {
        f"PATCH {DEVICE_PATH}": device(),
        f"GET {COLLECTION_PATH}": collection("device"),
        f"PATCH {COLLECTION_PATH}": collection("device"),
    }
    async with Api(replies) as api:
        result = await api.run("firmware", "assign", "-c", COLLECTION, IMAGE, "-d", DEVICE)
        told = await api.run("firmware", "assign", "-c", COLLECTION, IMAGE, "-d", DEVICE, "--management", "device")

    target = {"firmware": {"targetFirmwareId": IMAGE}}
    assert [(call.method, call.path, call.body) for call in api.calls] == [
        ("PATCH", DEVICE_PATH, target),
        ("GET", COLLECTION_PATH, None),
        ("PATCH", DEVICE_PATH, target),
        ("PATCH", COLLECTION_PATH, {"firmware": {"management": "device"}}),
    ]
    assert (result.stdout, result.stderr) == (told.stdout, told.stderr) == (f"{DEVICE}\n", "")


@pytest.mark.parametrize(
    ("arguments", "management", "wanted"),
    [
        ([], "disabled", "collection"),
        (["-d", DEVICE], "disabled", "device"),
        (["-d", DEVICE], "collection", "device"),
        ([], "device", None),
        (["-d", DEVICE], "device", None),
    ],
)
async def test_an_assignment_without_effect_prints_a_note(
    arguments: list[str], management: str, wanted: str | None
) -> None:
    """Otherwise the user waits for an update without a target."""
    replies = {
        f"PATCH {DEVICE_PATH}": device(),
        f"GET {COLLECTION_PATH}": collection(management),
        f"PATCH {COLLECTION_PATH}": collection(management),
    }
    async with Api(replies) as api:
        result = await api.run("firmware", "assign", "-c", COLLECTION, IMAGE, *arguments)

    assert result.stderr == (
        f"hint: this has no effect yet, since the collection's firmware management is `{management}`: "
        f"`--management {wanted}` changes that.\n"
        if wanted
        else ""
    )


@pytest.mark.parametrize(
    ("arguments", "times"), [([], 0), ([IMAGE, "--none"], 2), (["--version", "1", "--none"], 2)], ids=str
)
async def test_exactly_one_image_is_assigned(arguments: list[str], times: int) -> None:
    async with Api() as api:
        result = await api.run("firmware", "assign", "-c", COLLECTION, *arguments)

    assert (result.exit_code, api.calls) == (2, [])
    assert f"The image is given {times} times: give exactly one of IMAGE, --version and --none" in result.stderr


async def test_an_option_wins_over_the_image_in_the_environment() -> None:
    """SPAN_IMAGE_ID counts only without an argument."""
    async with Api({f"PATCH {COLLECTION_PATH}": collection("collection")}) as api:
        for arguments in (["--none"], []):
            await api.run("firmware", "assign", "-c", COLLECTION, *arguments, env={"SPAN_IMAGE_ID": IMAGE})

    assert [call.body["firmware"]["targetFirmwareId"] for call in api.calls] == ["0", IMAGE]


async def test_a_version_without_an_image_is_refused() -> None:
    async with Api({f"GET {IMAGES}": {"images": [image()]}}) as api:
        result = await api.run("firmware", "assign", "-c", COLLECTION, "--version", "1.2")

    assert result.exit_code == 1
    assert f"error: The collection {COLLECTION} has no image with version 1.2\n" in result.stderr


async def test_usage_lists_targeted_and_current_devices() -> None:
    usage = {"imageId": IMAGE, "targeted": ["1", "2"], "current": ["2", "3"]}
    async with Api({f"GET {ONE}/usage": usage}) as api:
        result = await api.run("firmware", "usage", "-c", COLLECTION, IMAGE)

    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["1", "yes", "no"],
        ["2", "yes", "yes"],
        ["3", "no", "yes"],
    ]


async def test_an_error_is_cleared() -> None:
    async with Api({f"DELETE {DEVICE_PATH}/fwerror": {"result": "Initializing"}}) as api:
        result = await api.run("firmware", "clear", "-c", COLLECTION, "-d", DEVICE)

    assert result.stdout == "Initializing\n"


@pytest.mark.parametrize(
    ("arguments", "request_line"),
    [
        (["list"], f"GET {IMAGES}"),
        (["show", IMAGE], f"GET {ONE}"),
        (["usage", IMAGE], f"GET {ONE}/usage"),
        (["delete", IMAGE, "--yes"], f"DELETE {ONE}"),
        (["clear", "-d", DEVICE], f"DELETE {DEVICE_PATH}/fwerror"),
        (["assign", IMAGE], f"PATCH {COLLECTION_PATH}"),
    ],
)
async def test_json_is_the_servers_document(arguments: list[str], request_line: str) -> None:
    async with Api({request_line: {"firmware": {"management": "collection"}, "x": 1}}) as api:
        result = await api.run("firmware", *arguments, "-c", COLLECTION, "--json")

    assert json.loads(result.stdout) == {"firmware": {"management": "collection"}, "x": 1}
