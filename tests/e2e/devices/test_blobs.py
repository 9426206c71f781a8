"""Blobs from upload to download: curl uploads, the command line downloads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.programs import PROGRAM, run

PHOTO = b"\xff\xd8\xff photo " + os.urandom(2_000_000)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file to upload."""
    file = tmp_path / "photo.jpg"
    file.write_bytes(PHOTO)
    return file


async def span_events(server: LiveServer, *arguments: str) -> str:
    """Run a command against the server, and return what it prints."""
    environment = {"SPAN_API_ENDPOINT": f"http://{server.addresses['http']}", "SPAN_API_TOKEN": server.token}
    ended = await run(PROGRAM, *arguments, environment=environment)
    assert ended.status == 0, ended.complaints
    return ended.output


async def check_stored(server: LiveServer, device: LiveDevice, blob: str, folder: Path) -> None:
    """Get a blob with the command line, compare it, and delete it."""
    listed = json.loads(await span_events(server, "blob", "list", "-c", device.collection, "--json"))["blobs"]
    await span_events(server, "blob", "get", "-c", device.collection, blob, "-o", str(folder / "copy"))
    await span_events(server, "blob", "delete", "-c", device.collection, blob, "--yes")

    assert [(each["blobId"], each["deviceId"], each["contentType"]) for each in listed] == [
        (blob, device.id, "image/jpeg")
    ]
    assert (folder / "copy").read_bytes() == PHOTO
    assert json.loads(await span_events(server, "blob", "list", "-c", device.collection, "--json")) == {"blobs": []}


async def test_the_address_identifies_the_device(
    server: LiveServer, device: LiveDevice, photo: Path, tmp_path: Path
) -> None:
    """Events name each stored blob and the reason for each refused one."""
    url = f"http://{server.addresses['blobs']}/x"
    async with server.tail(f"/span/collections/{device.collection}/activity") as tail:
        await run("curl", "--interface", device.address, "--data-binary", f"@{photo}", url)
        stored = await tail.until("blobUpload")
        await run("curl", "--interface", device.address, url)
        refused = await tail.until("messageRejected")

    assert stored["data"]["size"] == str(len(PHOTO))
    assert refused["data"]["reason"] == "methodNotAllowed"
    await check_stored(server, device, stored["data"]["blobId"], tmp_path)


async def test_the_certificate_identifies_the_device(
    server: LiveServer, device: LiveDevice, photo: Path, tmp_path: Path
) -> None:
    """The files are those that `span-events cert create` writes, and are all that the client needs."""
    await span_events(server, "cert", "create", "-c", device.collection, "-d", device.id, "--out", str(tmp_path))
    certificate, key = tmp_path / "cert.crt", tmp_path / "key.pem"
    shown = ("--cacert", str(certificate), "--cert", str(certificate), "--key", str(key))
    async with server.tail(f"/span/collections/{device.collection}/activity") as tail:
        url = f"https://{server.addresses['blobs_tls']}/any/path"
        ended = await run("curl", "--silent", *shown, "--data-binary", f"@{photo}", url)
        stored = await tail.until("blobUpload")

    assert ended.output == f"stored as blob {stored['data']['blobId']}\n"
    assert stored["data"]["path"] == "/any/path"
    await check_stored(server, device, stored["data"]["blobId"], tmp_path)


async def test_a_blob_survives_a_restart_and_a_broken_upload_does_not(photo: Path, tmp_path: Path) -> None:
    """A start removes the partial files of a killed server."""
    with LiveServer(tmp_path) as server:
        device = await server.add_device(await server.add_collection())
        url = f"http://{server.addresses['blobs']}/x"
        await run("curl", "--interface", device.address, "--data-binary", f"@{photo}", url)
        folder = server.data_dir / "blobs"
        (kept,) = os.listdir(folder)
        server.stop()
        (folder / "17kl1b3c9d4e20.part").write_bytes(b"half")  # as a power cut leaves it
        server.start()
        listed = (await server.call("GET", f"/span/collections/{device.collection}/blobs"))["blobs"]

        assert [each["blobId"] for each in listed] == [kept]
        assert os.listdir(folder) == [kept]
