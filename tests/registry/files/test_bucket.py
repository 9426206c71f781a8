"""Files in an object store: local copies, one fetch for all readers, and a store that dies and comes back."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.clock import SystemClock
from span_events.config import FilesConfig
from span_events.errors import ConfigurationError, StorageUnavailable
from span_events.ids import render
from span_events.registry.files.base import BeingFetched, Files, StoredFile
from span_events.registry.files.bucket import BucketFiles
from span_events.registry.files.opening import Opened, open_files
from tests.bench.peers.versitygw import SECRET_KEY, ObjectStoreServer, needs_versitygw
from tests.bench.waiting import until
from tests.registry.files.places import BucketPlace, read, write

pytestmark = needs_versitygw


@asynccontextmanager
async def opened(settings: Mapping[str, object], folder: Path, rows: Callable[[int], bool]) -> AsyncIterator[Opened]:
    """Open the files of a node."""
    found = open_files(FilesConfig.model_validate(settings), folder, SystemClock())
    await found.images.prepare(rows)
    yield found
    await found.close()


@asynccontextmanager
async def node(bucket: BucketPlace, name: str = "node", **settings: object) -> AsyncIterator[Files]:
    """Open the images of a node, whose registry has all rows."""
    folder = bucket.folder / name
    async with opened(bucket.server.settings(bucket.prefix) | settings, folder, lambda _: True) as found:
        yield found.images


def copies(bucket: BucketPlace, name: str = "node") -> list[str]:
    """List the local copies of a node."""
    return sorted(each.name for each in (bucket.folder / name / "copies" / "0" / "firmware").iterdir())


def fetches(files: Files) -> int:
    """Return the number of objects that were fetched."""
    assert isinstance(files, BucketFiles)
    return files.fetched


async def test_readers_share_one_fetch_of_an_image(bucket: BucketPlace) -> None:
    """A collection's devices begin together; the first requests end as soon as the image is here."""
    octets = bytes(range(256)) * 10_000
    async with node(bucket, "upload") as files:
        await write(files, 5, octets)
    stored = StoredFile(5, len(octets), hashlib.sha256(octets).hexdigest())
    async with node(bucket) as files:
        blocks = await asyncio.gather(*(read(files, stored, 1024 * number) for number in range(50)))
        whole = await files.whole(stored)

        assert b"".join(blocks) == octets[: 50 * 1024]
        assert whole.read_bytes() == octets
        assert fetches(files) == 1


async def test_an_image_with_another_sha_256_is_never_served(bucket: BucketPlace) -> None:
    """Its fetch is not repeated for each request."""
    async with node(bucket, "upload") as files:
        await write(files, 5, b"stored")
    stored = StoredFile(5, 6, hashlib.sha256(b"wanted").hexdigest())
    async with node(bucket) as files:
        with pytest.raises(StorageUnavailable, match=f"firmware/5: its SHA-256 is not {stored.sha256}"):
            await read(files, stored)
        with pytest.raises(StorageUnavailable, match="SHA-256") as again:
            files.read(stored, 0, 6)

        assert not isinstance(again.value, BeingFetched)
        assert copies(bucket) == []


async def test_local_copies_are_bounded(bucket: BucketPlace) -> None:
    """The one that was read longest ago makes room; a file that is larger than all is refused."""
    async with node(bucket, cache=2500) as files:
        stored = [await write(files, number, bytes(1000)) for number in (1, 2)]
        await read(files, stored[0])
        stored.append(await write(files, 3, bytes(1000)))
        kept = copies(bucket)
        again = await read(files, stored[1])

        assert kept == ["1", "3"]
        assert again == bytes(1000)
        assert copies(bucket) == ["2", "3"]
        with pytest.raises(StorageUnavailable, match=r"a file of 3000 octets has no room .* files.cache is 2500"):
            await read(files, StoredFile(9, 3000))


async def test_a_restart_takes_the_copies_over(bucket: BucketPlace) -> None:
    """All but unfinished ones; copies without a row go, as another node removed it."""
    async with node(bucket) as files:
        stored = [await write(files, number, b"octets") for number in (1, 2)]
        files.begin(7).append(b"half")
    async with opened(bucket.server.settings(bucket.prefix), bucket.folder / "node", [1].__contains__) as found:
        here = copies(bucket)
        block = found.images.read(stored[0], 0, 9)
        await found.images.check(is_current=True)

        assert here == ["1", "2"]
        assert block == b"octets"
        assert copies(bucket) == ["1"]
        assert fetches(found.images) == 0


async def test_processes_of_one_data_directory_have_copies_of_their_own(bucket: BucketPlace) -> None:
    """Workers would delete each other's otherwise; one that starts again finds its own."""
    async with node(bucket) as files:
        stored = await write(files, 5, b"octets")
        async with node(bucket) as other:
            block = await read(other, stored)
    async with node(bucket) as again:
        again.read(stored, 0, 9)
        folders = sorted(each.name for each in (bucket.folder / "node" / "copies").iterdir())

    assert block == b"octets"
    assert (fetches(files), fetches(other), fetches(again)) == (0, 1, 0)
    assert folders == ["0", "1"]


async def test_a_damaged_copy_is_fetched_again(bucket: BucketPlace) -> None:
    async with node(bucket) as files:
        stored = await write(files, 5, b"octets")
        (bucket.folder / "node" / "copies" / "0" / "firmware" / render(5)).write_bytes(b"oct")
        block = await read(files, stored)

        assert block == b"octets"


async def test_a_killed_object_store_is_told_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    """Copies are served meanwhile; uploads are refused at once, before they send anything."""
    with ObjectStoreServer(tmp_path / "store") as server:
        bucket = BucketPlace(server, tmp_path)
        async with node(bucket, "other") as files:
            elsewhere = await write(files, 6, b"elsewhere")
        async with node(bucket) as files:
            stored = await write(files, 5, b"octets")
            server.kill()
            with capture_logs() as logs, pytest.raises(StorageUnavailable, match="Connection refused"):
                await write(files, 7, b"more")
            with pytest.raises(StorageUnavailable, match=r"s3://span-events/.*: cannot be used: Connection refused"):
                files.begin(8)
            with pytest.raises(StorageUnavailable, match="cannot be used"):
                files.read(elsewhere, 0, 9)
            files.prefetch(elsewhere)
            await files.check(is_current=True)
            fault, block = files.fault, await read(files, stored)
            server.start()
            await files.check(is_current=True)
            back = files.fault, await read(files, elsewhere), await write(files, 9, b"again")

    assert block == b"octets"
    assert "Connection refused" in fault
    assert back == ("", b"elsewhere", StoredFile(9, 5))
    assert [each["event"] for each in logs] == ["object_store_away"]
    assert "files.url" in logs[0]["hint"]


async def test_a_node_starts_without_its_object_store(tmp_path: Path) -> None:
    server = ObjectStoreServer(tmp_path / "store")
    bucket = BucketPlace(server, tmp_path)
    async with node(bucket) as files:
        await files.check(is_current=True)
        fault = files.fault

    assert "Connection refused" in fault


async def test_an_object_store_that_does_not_answer_costs_the_time_out_once(tmp_path: Path) -> None:
    """The next callers are refused at once."""
    server = ObjectStoreServer(tmp_path / "store")
    with socket.create_server(("127.0.0.1", server.port)):
        settings = server.settings() | {"timeout": 0.2}
        async with opened(settings, tmp_path, lambda _: True) as found:
            with pytest.raises(StorageUnavailable, match="cannot be stored: no answer in time"):
                await write(found.images, 5, b"octets")
            with pytest.raises(StorageUnavailable, match="cannot be used: no answer in time"):
                found.blobs.begin(6)


async def test_refused_credentials_are_named_without_the_secret(bucket: BucketPlace) -> None:
    """In the error, in the log, and in the health; the hint names the setting."""
    wrong = bucket.folder / "wrong"
    wrong.write_text("[default]\naws_access_key_id = an-access-key\naws_secret_access_key = not-the-secret\n")
    with capture_logs() as logs:
        async with node(bucket, credentials_file=str(wrong)) as files:
            await files.check(is_current=True)
            told = [files.fault, str(logs)]

    assert "signature" in told[0]
    assert "files.credentials_file" in logs[0]["hint"]
    assert [each for each in told if "not-the-secret" in each or SECRET_KEY in each] == []


async def test_a_bucket_that_is_missing_is_named(bucket: BucketPlace) -> None:
    url = bucket.server.settings()["url"].replace("//span-events/", "//no-such-bucket/")
    with capture_logs() as logs:
        async with node(bucket, url=url) as files:
            await files.check(is_current=True)

            assert files.fault == "s3://no-such-bucket: cannot be used: The specified bucket does not exist."

    assert "files.url" in logs[0]["hint"]


async def test_a_large_object_is_stored_in_parts(bucket: BucketPlace) -> None:
    """And comes back octet for octet."""
    octets = random.Random(3).randbytes(17 << 20)
    async with node(bucket, "upload") as files:
        stored = await write(files, 5, octets)
    async with node(bucket) as files:
        whole = await files.whole(stored._replace(sha256=hashlib.sha256(octets).hexdigest()))

        assert whole.read_bytes() == octets


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "cannot be read: No such file or directory"),
        ("secret", r"needs \[default\] with aws_access_key_id and aws_secret_access_key"),
        ("[default]\naws_secret_access_key = secret\n", "needs"),
    ],
)
def test_a_useless_file_of_credentials_is_named_without_its_text(tmp_path: Path, text: str | None, fault: str) -> None:
    path = tmp_path / "credentials"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=f"files.credentials_file: {path} {fault}") as refused:
        open_files(FilesConfig(url="s3://bucket", credentials_file=str(path)), tmp_path, SystemClock())

    assert "= secret" not in str(refused.value)


async def test_fetches_end_with_the_server(bucket: BucketPlace) -> None:
    """No task and no file is left."""
    async with node(bucket, "upload") as files:
        stored = await write(files, 5, bytes(100_000))
    async with node(bucket) as files:
        with pytest.raises(BeingFetched) as fetching:
            files.read(stored, 0, 9)

    await until(fetching.value.fetch.done)
    assert [each for each in copies(bucket) if "." in each] == []
