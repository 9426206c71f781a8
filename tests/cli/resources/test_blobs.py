"""``blob``: its requests, its output, and its confirmations."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.bench import COLLECTION, DEVICE, TOKEN, Api, Call, problem

BLOB = "17kl1b3c9d4e20"
BLOBS = f"/span/collections/{COLLECTION}/blobs"
PHOTO = b"\xff\xd8\xff photo"


def blob(**changes: Any) -> dict[str, Any]:
    """Make a blob as the API shows it."""
    return {
        "blobId": BLOB,
        "blobPath": f"{BLOBS}/{BLOB}",
        "contentType": "image/jpeg",
        "size": "51200",
        "created": "1715070269492894739",
        "collectionId": COLLECTION,
        "deviceId": DEVICE,
        "gatewayId": "0",
        "properties": {"address": "10.0.0.17:40920", "method": "POST", "path": "/camera"},
        **changes,
    }


async def test_blobs_are_listed_as_a_table() -> None:
    async with Api({f"GET {BLOBS}": {"blobs": [blob()]}}) as api:
        result = await api.run("blob", "list", "-c", COLLECTION, "--limit", "5", env={"TZ": "UTC"})
    headings, row = result.stdout.splitlines()

    assert headings.split() == ["BLOB", "DEVICE", "TYPE", "BYTES", "CREATED", "FROM", "PATH"]
    assert row.split()[:4] == [BLOB, DEVICE, "image/jpeg", "51200"]
    assert row.split()[-2:] == ["10.0.0.17:40920", "/camera"]


async def test_json_is_the_servers_document() -> None:
    async with Api({f"GET {BLOBS}": {"blobs": [blob()]}}) as api:
        result = await api.run("blob", "list", "-c", COLLECTION, "--json")

    assert json.loads(result.stdout) == {"blobs": [blob()]}


async def test_an_empty_list_prints_a_hint_on_the_events() -> None:
    async with Api({f"GET {BLOBS}": {"blobs": []}}) as api:
        result = await api.run("blob", "list", "-c", COLLECTION)

    assert result.stdout == ""
    assert "span-events tail" in result.stderr


async def test_a_blob_is_written_to_a_file_octet_for_octet(tmp_path: Path) -> None:
    async with Api({f"GET {BLOBS}/{BLOB}": (200, PHOTO)}) as api:
        result = await api.run("blob", "get", "-c", COLLECTION, BLOB, "-o", str(tmp_path / "photo.jpg"))

    assert (tmp_path / "photo.jpg").read_bytes() == PHOTO
    assert (result.stdout, result.exit_code) == ("", 0)
    assert api.last == Call("GET", f"{BLOBS}/{BLOB}", None, TOKEN)


@pytest.mark.parametrize("arguments", [(), ("-o", "-")])
async def test_a_blob_is_written_to_a_pipe(arguments: tuple[str, ...]) -> None:
    """Without any other output."""
    async with Api({f"GET {BLOBS}/{BLOB}": (200, PHOTO)}) as api:
        result = await api.run("blob", "get", "-c", COLLECTION, BLOB, *arguments)

    assert result.stdout_bytes == PHOTO
    assert result.stderr == ""


async def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """Nothing is asked of the server then."""
    there = tmp_path / "photo.jpg"
    there.write_bytes(b"mine")
    async with Api() as api:
        result = await api.run("blob", "get", "-c", COLLECTION, BLOB, "-o", str(there))

    assert there.read_bytes() == b"mine"
    assert "is there already" in result.stderr
    assert result.exit_code == 1
    assert api.calls == []


async def test_a_refusal_leaves_no_file(tmp_path: Path) -> None:
    """The hint names the command that lists ids."""
    missing = problem(404, f"There is no blob {BLOB} in collection {COLLECTION}", field="blob")
    async with Api({f"GET {BLOBS}/{BLOB}": (404, missing)}) as api:
        result = await api.run("blob", "get", "-c", COLLECTION, BLOB, "-o", str(tmp_path / "photo.jpg"))

    assert os.listdir(tmp_path) == []
    assert result.exit_code == 1
    assert "span-events blob list" in result.stderr


async def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    async with Api() as api:
        result = await api.run("blob", "get", "-c", COLLECTION, BLOB, "-o", str(tmp_path / "no" / "photo.jpg"))

    assert "cannot be written: No such file or directory" in result.stderr
    assert result.exit_code == 4


async def test_several_blobs_are_deleted_at_once() -> None:
    """Each id is printed after its deletion."""
    other = "17kl1b3c9d4e21"
    async with Api({f"DELETE {BLOBS}/{each}": {} for each in (BLOB, other)}) as api:
        result = await api.run("blob", "delete", "-c", COLLECTION, BLOB, other, "--yes")

    assert result.stdout.split() == [BLOB, other]
    assert [each.path for each in api.calls] == [f"{BLOBS}/{BLOB}", f"{BLOBS}/{other}"]


async def test_deleting_asks_first() -> None:
    """A deleted blob cannot be restored."""
    async with Api() as api:
        result = await api.run("blob", "delete", "-c", COLLECTION, BLOB, stdin="n\n")

    assert f"Delete the blob {BLOB}?" in result.stderr
    assert api.calls == []
