"""Backups of a server that runs, and what restoring them gives."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import json
import sqlite3
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final
from unittest.mock import Mock

import pytest

from span_events.app import backup
from span_events.app.backup import back_up, restore
from span_events.cli.commands import cli
from span_events.config import Config
from span_events.errors import StorageUnavailable
from span_events.ids import render
from span_events.registry.model import Collection, Image
from tests.bench.peers.versitygw import ObjectStoreServer, needs_versitygw
from tests.bench.servers import CAUSE, Running, running
from tests.cli.bench import run

CONFIG: Final = Config()


async def add_image(server: Running, collection: Collection, version: str, octets: bytes) -> Image:
    """Store a firmware image."""
    images = server.server.fleet.images
    async with images.upload(collection) as upload:
        await upload.write(octets)
        return await images.create(collection, upload, version=version, cause=CAUSE)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    """Write an archive by hand."""
    with tarfile.open(path, "w:gz") as file:
        for name, octets in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(octets)
            file.addfile(member, io.BytesIO(octets))
    return path


def about(**changes: object) -> bytes:
    """Write the first member of an archive."""
    return json.dumps({"format": backup.FORMAT, "version": "0.1.0", "schema": 1} | changes).encode()


async def test_a_backup_of_a_running_server_restores_registry_keys_tokens_and_files(tmp_path: Path) -> None:
    """Also in a second server: a device's certificate and a token are those of the first."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "backup.tar.gz"
    async with running(old) as server:
        collection = await server.collection()
        device = await server.device(collection, "127.0.9.9")
        image = await add_image(server, collection, "1.0", b"firmware" * 1000)
        made = await asyncio.to_thread(back_up, old, CONFIG, file)
        await server.device(collection, "127.0.9.10")  # after the moment of the backup
        root, token = server.server.authority.root_pem, server.token
    found = restore(new, CONFIG, file)
    async with running(new) as again:
        fleet = again.server.fleet
        devices, restored = dict(fleet.directory.devices), fleet.image_files.read(image.file, 0, 8)
        known = await again.server.tokens.find(token)
        same_root = again.server.authority.root_pem == root

    assert list(devices) == [device.id]
    assert restored == b"firmware"
    assert known is not None
    assert same_root
    assert again.token == "", "a first start would have made another one"
    assert (made.files, made.missing) == (found.files, ())
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in old.iterdir() if path.name.startswith(".")] == []
    assert [path for path in new.rglob("*") if path.stat().st_mode & 0o077] == []


async def test_an_image_that_is_deleted_during_a_backup_makes_it_choose_a_new_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row without its file comes back, and one that is written at that moment is complete."""
    old, file = tmp_path / "old", tmp_path / "backup.tar.gz"
    moments: list[list[str]] = []
    copy = backup._copy_sqlite
    async with running(old) as server:
        collection = await server.collection()
        kept, gone = [await add_image(server, collection, version, version.encode()) for version in ("1", "2")]

        def delete_after(database: Path, target: Path) -> Mapping[str, bytes]:
            common = copy(database, target)
            if not moments:
                (old / "firmware" / render(gone.id)).unlink()
                with closing(sqlite3.connect(database)) as other, other:
                    other.execute("DELETE FROM firmware_images WHERE id = ?", (gone.id,))
                kept_file = old / "firmware" / render(kept.id)
                kept_file.rename(f"{kept_file}.pending")
            moments.append(backup._files_of_rows(target))
            return common

        monkeypatch.setattr(backup, "_copy_sqlite", delete_after)
        made = back_up(old, CONFIG, file)
    restore(tmp_path / "new", CONFIG, file)

    assert [len(names) for names in moments] == [2, 1]
    assert made.missing == ()
    assert [path.name for path in (tmp_path / "new" / "firmware").iterdir()] == [render(kept.id)]


async def test_a_file_that_was_lost_before_is_named_and_the_rest_is_backed_up(tmp_path: Path) -> None:
    old, file = tmp_path / "old", tmp_path / "backup.tar.gz"
    async with running(old) as server:
        collection = await server.collection()
        lost, kept = [await add_image(server, collection, version, version.encode()) for version in ("1", "2")]
        (old / "firmware" / render(lost.id)).unlink()
        result = await run("backup", "--data-dir", str(old), str(file))
    again = await run("restore", "--data-dir", str(tmp_path / "new"), str(file))

    assert (result.exit_code, again.exit_code) == (0, 0), result.output + again.output
    assert f"firmware/{render(lost.id)} is in the registry, but not on the disk" in result.output
    assert "written by span-events" in again.output
    assert [path.name for path in (tmp_path / "new" / "firmware").iterdir()] == [render(kept.id)]


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"backup.json": about(), "../x": b""}, "../x: has no place in a data directory"),
        ({"backup.json": about(), "/x": b""}, "/x: has no place in a data directory"),
        ({"backup.json": about(), "login.key": b"k"}, "has no registry.sqlite"),
        ({"backup.json": about(format=99)}, "a newer release wrote it"),
        ({"backup.json": about(schema=99)}, "a newer release wrote it"),
        ({"backup.json": b"[]"}, "is no backup of span-events"),
        ({"registry.sqlite": b""}, "is no backup of span-events"),
        ({}, "is no backup of span-events"),
    ],
)
def test_an_archive_that_is_no_backup_leaves_the_data_directory_empty(
    tmp_path: Path, members: dict[str, bytes], complaint: str
) -> None:
    """Nothing is written outside of it either."""
    file = archive(tmp_path / "file", members)
    with pytest.raises(StorageUnavailable, match=complaint):
        restore(tmp_path / "inside" / "data", CONFIG, file)

    assert [path.name for path in (tmp_path / "inside").rglob("*")] == ["data", "lock"]


def test_every_cut_and_every_changed_octet_of_an_archive_is_found(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole", {"backup.json": about(), "registry.sqlite": b"r" * 100}).read_bytes()
    damaged = [whole[:-1], whole[: len(whole) // 2], whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:], b"", b"text"]
    for number, octets in enumerate(damaged):
        (tmp_path / "file").write_bytes(octets)
        with pytest.raises(StorageUnavailable, match="damaged"):
            restore(tmp_path / str(number), CONFIG, tmp_path / "file")

    assert gzip.decompress(whole)
    assert restore(tmp_path / "last", CONFIG, tmp_path / "whole").octets == 100


def test_an_archive_that_is_missing_or_damaged_and_a_full_disk_have_hints_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of the data directory, which is fine."""
    file, hints = tmp_path / "file", []
    whole = archive(tmp_path / "whole", {"backup.json": about(), "registry.sqlite": b"r" * 100})
    file.write_bytes(whole.read_bytes()[:-9])
    for source in (tmp_path / "none", file):
        with pytest.raises(StorageUnavailable) as caught:
            restore(tmp_path / "data", CONFIG, source)
        hints.append(str(caught.value.hint))
    monkeypatch.setattr("shutil.move", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StorageUnavailable) as full:
        restore(tmp_path / "data", CONFIG, whole)

    assert hints[0] == f"Check the path of the archive, {tmp_path / 'none'}; the folder must exist."
    assert f"`gzip -t {file}` checks a copy" in hints[1]
    assert str(full.value) == f"{whole} or {tmp_path / 'data'}: No space left on device"
    assert str(full.value.hint).startswith("Make room")


def test_a_symbolic_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with tarfile.open(file, "w:gz") as made:
        first = tarfile.TarInfo("backup.json")
        first.size = len(about())
        made.addfile(first, io.BytesIO(about()))
        link = tarfile.TarInfo("pki")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        made.addfile(link)

    with pytest.raises(StorageUnavailable, match="pki: has no place"):
        restore(tmp_path / "data", CONFIG, file)


def test_a_data_directory_that_is_in_use_or_not_empty_is_not_overwritten(tmp_path: Path) -> None:
    file = archive(tmp_path / "file", {"backup.json": about(), "registry.sqlite": b"r"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "login.key").write_bytes(b"k")

    with pytest.raises(StorageUnavailable, match=r"is not empty: login\.key is there"):
        restore(tmp_path / "data", CONFIG, file)
    with pytest.raises(StorageUnavailable, match="nothing: No such file"):
        restore(tmp_path / "new", CONFIG, tmp_path / "nothing")
    assert not (tmp_path / "new").exists()
    with pytest.raises(StorageUnavailable, match="there is no registry"):
        back_up(tmp_path / "empty", CONFIG, tmp_path / "other")
    assert (tmp_path / "data" / "login.key").read_bytes() == b"k"


def test_a_registry_that_is_damaged_replaces_no_earlier_backup(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"no database" * 1000)
    (tmp_path / "file").write_bytes(b"earlier")
    with pytest.raises(StorageUnavailable, match="registry cannot be read"):
        back_up(tmp_path, CONFIG, tmp_path / "file")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "registry.sqlite"]
    assert (tmp_path / "file").read_bytes() == b"earlier"


def test_both_commands_are_in_the_help() -> None:
    assert {"backup", "restore"} <= set(cli.list_commands(None))  # type: ignore[arg-type]


async def test_images_in_a_folder_of_their_own_are_in_the_archive(tmp_path: Path) -> None:
    """`files.url` names the folder; the restored ones go to that of the new settings."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "backup.tar.gz"
    async with running(old, files={"url": str(tmp_path / "shared")}) as server:
        image = await add_image(server, await server.collection(), "1.0", b"firmware" * 1000)
    made = back_up(old, Config.model_validate({"files": {"url": str(tmp_path / "shared")}}), file)
    restore(new, Config.model_validate({"files": {"url": str(tmp_path / "elsewhere")}}), file)

    assert (made.missing, made.elsewhere) == ((), "")
    assert (tmp_path / "elsewhere" / "firmware" / render(image.id)).read_bytes() == b"firmware" * 1000
    with pytest.raises(StorageUnavailable, match="shared/firmware: is not empty"):
        restore(tmp_path / "third", Config.model_validate({"files": {"url": str(tmp_path / "shared")}}), file)


@needs_versitygw
async def test_images_in_an_object_store_stay_there(tmp_path: Path) -> None:
    """The archive has their rows; a restored server finds them by these. The summary says so."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "backup.tar.gz"
    with ObjectStoreServer(tmp_path / "store") as store:
        config = Config.model_validate({"files": store.settings()})
        async with running(old, files=store.settings()) as server:
            image = await add_image(server, await server.collection(), "1.0", b"firmware" * 1000)
        made = back_up(old, config, file)
        found = restore(new, config, file)
        async with running(new, files=store.settings()) as server:
            octets = (await server.server.fleet.image_files.whole(image.file)).read_bytes()

    assert made.elsewhere == found.elsewhere == "s3://span-events"
    assert made.missing == ()
    with tarfile.open(file) as archived:
        assert [name for name in archived.getnames() if name.startswith(("firmware", "copies"))] == []
    assert octets == b"firmware" * 1000
