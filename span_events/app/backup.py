"""
Backups: the registry, the authority's keys, and the files of images and blobs in one compressed archive.

The archive is the same for a registry in SQLite and in PostgreSQL, so a backup that is restored with another
``registry.url`` moves a server. Keys that nodes have in common in PostgreSQL are in it as files, in the clear, as those
of a single server; the first node that starts on a restored registry encrypts them again. Node numbers, the journal of
changes and claims of messages are not in it: they belong to nodes that run.

Images and blobs in an object store stay there: the archive has the rows that name them, and the store its own backup.

A backup is consistent while servers run. The registry is copied as of one moment, and each file of an image or
blob is there from before its row until after it, so files that are linked just after that moment are complete, unless
one was deleted in between: then a new moment is chosen.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from sqlalchemy import make_url

from span_events import __version__
from span_events.app import copying
from span_events.config import Config, FilesConfig, RegistryConfig
from span_events.config.sections.files import bucket_of
from span_events.errors import StorageUnavailable
from span_events.ids import render
from span_events.registry import location, tables
from span_events.registry.files.folder import PENDING
from span_events.registry.files.opening import BLOBS, COPIES, IMAGES
from span_events.registry.shared.secrets import read_key

FORMAT: Final = 1
"""Version of the archive's layout; restore takes this one and older ones."""
MANIFEST: Final = "backup.json"
"""First member of the archive."""
REGISTRY: Final = "registry.sqlite"
_OF_ROWS: Final = {IMAGES: tables.firmware_images.name, BLOBS: tables.blobs.name}
"""Folders whose files have a row each, and the table."""
_PASSING: Final = (".backup-", ".restore-")
"""Begin of the names of folders of this module, which a power cut may leave behind."""
_LEFT_OUT: Final = frozenset({"lock", "lost+found", COPIES})
_ATTEMPTS: Final = 5
_BLOCK: Final = 1 << 20


Copy = Callable[[Path], Mapping[str, bytes]]
"""Copies the registry to a new file of SQLite; returns the content of files that are common to its nodes, by name."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Contents of an archive."""

    version: str
    """Release that wrote it."""
    created: str
    files: int
    """Number of files, the registry among them."""
    octets: int
    """Their size together, before compression."""
    missing: tuple[str, ...] = ()
    """Files of images and blobs that the registry names, but that were not there."""
    elsewhere: str = ""
    """Object store of the images and blobs, which are not in the archive; empty if they are."""


def back_up(data_dir: Path, config: Config, target: Path) -> Summary:
    """
    Write a backup; an existing file is replaced in one step, once the new one is complete.

    Raises:
        StorageUnavailable: The registry cannot be read, or a file cannot be read or written.
    """
    database = _file_of(config.registry, data_dir)
    if database is not None and not database.exists():
        error = StorageUnavailable(f"{database}: there is no registry")
        error.hint = "--data-dir names the data directory of your server, --config its settings."
        raise error
    if database is None:
        secret_file = config.pki.secret_file
        key = read_key(Path(secret_file)) if secret_file else None
        copy: Copy = partial(_copy_postgresql, config.registry.url, key)
        location.prepare(data_dir)
    else:
        copy = partial(_copy_sqlite, database)
    with (
        _translated(target, data_dir),
        tempfile.TemporaryDirectory(prefix=_PASSING[0], dir=data_dir) as passing,
    ):
        folder = Path(passing)
        missing = _gather(data_dir, database, copy, folder, _place_of(config.files, data_dir))
        if database is None and not location.authority_exists(folder):
            error = StorageUnavailable(f"{data_dir}: has no keys of the authority, and pki.secret_file names none")
            error.hint = "--data-dir names the data directory of a node, --config its settings."
            raise error
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        created = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"format": FORMAT, "version": __version__, "schema": tables.SCHEMA, "created": created}
        with (
            _new_file(target) as file,
            tarfile.open(fileobj=file, mode="w:gz", compresslevel=1, dereference=True) as archive,
        ):
            (folder / MANIFEST).write_text(json.dumps(about) + "\n")
            for path in (folder / MANIFEST, *found):
                archive.add(path, str(path.relative_to(folder)), recursive=False, filter=_anonymous)
        octets = sum(path.stat().st_size for path in found)
        return Summary(__version__, created, len(found), octets, missing, str(bucket_of(config.files.url) or ""))


def restore(data_dir: Path, config: Config, source: Path) -> Summary:
    """
    Fill an empty data directory from a backup; an archive that is damaged leaves it empty.

    Raises:
        StorageUnavailable: The archive is damaged or no backup, the data directory or registry is in use or not empty,
            or cannot be written.
    """
    database = _file_of(config.registry, data_dir)
    with _translated(source, data_dir), source.open("rb"):  # before anything is made
        _require_empty(data_dir, database)
        place = _place_of(config.files, data_dir) or data_dir
        for name in _OF_ROWS:
            if any((place / name).glob("*")):
                raise StorageUnavailable(f"{place / name}: is not empty (files.url)")
    location.prepare(data_dir)
    location.prepare(place)
    with (
        location.lock(data_dir),
        _translated(source, data_dir),
        tempfile.TemporaryDirectory(prefix=_PASSING[1], dir=data_dir) as passing,
    ):
        folder = Path(passing)
        summary = _extract(source, folder)
        copied = folder / REGISTRY

        def move_files() -> None:
            for path in folder.iterdir():
                if not path.name.startswith(REGISTRY):
                    shutil.move(path, (place if path.name in _OF_ROWS else data_dir) / path.name)

        if database is None:
            asyncio.run(copying.fill(config.registry.url, copied, move_files))
        else:
            move_files()
            shutil.move(copied, database)  # last: without it, no server starts
    return replace(summary, elsewhere=str(bucket_of(config.files.url) or ""))


# ---- writing ----------------------------------------------------------------------------------


def _gather(data_dir: Path, database: Path | None, copy: Copy, folder: Path, place: Path | None) -> tuple[str, ...]:
    """
    Fill a folder with the state of one moment; return the names of the files that are missing nevertheless.

    Args:
        database: The registry's file; None if it is in PostgreSQL.
        copy: Copies the registry.
        place: Folder of images and blobs; None if they are in an object store.
    """
    names: list[str] = []
    missing: tuple[str, ...] = ()
    common: Mapping[str, bytes] = {}
    for _ in range(_ATTEMPTS):
        (folder / REGISTRY).unlink(missing_ok=True)
        common = copy(folder / REGISTRY)
        names = _files_of_rows(folder / REGISTRY)
        if place is None:
            break
        missing = tuple(name for name in names if not _link_of_row(place / name, folder / name))
        if not missing:
            break
        for name in _OF_ROWS:
            shutil.rmtree(folder / name, ignore_errors=True)
    if missing:  # they were not deleted meanwhile, but lost before; those that are there belong into the backup
        for name in names:
            assert place is not None, "nothing is missing in an object store"
            _link_of_row(place / name, folder / name)
    for path in _others(data_dir, database):
        if str(path.relative_to(data_dir)) not in common:
            _link(path, folder / path.relative_to(data_dir))
    for name, content in common.items():
        (folder / name).parent.mkdir(mode=0o700, exist_ok=True)
        (folder / name).write_bytes(content)
    return missing


def _copy_sqlite(database: Path, target: Path) -> Mapping[str, bytes]:
    """Copy a registry in SQLite as of one moment."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StorageUnavailable(f"{database}: is damaged, so it is not backed up: {verdict}")
    return {}


def _copy_postgresql(url: str, secret_key: bytes | None, target: Path) -> Mapping[str, bytes]:
    """Copy a registry in PostgreSQL as of one moment; return the keys that its nodes have in common."""
    return asyncio.run(copying.export(url, target, secret_key))


def _files_of_rows(registry: Path) -> list[str]:
    """Return the names of the files that the rows of a copy need, and make the copy one file."""
    with closing(sqlite3.connect(registry)) as copy:
        names = [
            f"{folder}/{render(identifier)}"
            for folder, table in _OF_ROWS.items()
            for (identifier,) in copy.execute(f"SELECT id FROM {table}")  # noqa: S608  # a name of ours
        ]
        copy.execute("PRAGMA journal_mode = DELETE")  # the server that opens it changes that
    return names


def _link_of_row(path: Path, target: Path) -> bool:
    """Link the file of a row, which may still be pending by its name, see `registry.files`."""
    return _link(path, target) or _link(path.with_name(path.name + PENDING), target)


def _link(path: Path, target: Path) -> bool:
    """Give a file, which is replaced but never changed, a second name, or copy it; False if it is not there."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        try:
            os.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:  # this file system has no links
            shutil.copyfile(path, target)
    except FileNotFoundError:
        return False
    return True


def _others(data_dir: Path, database: Path | None) -> Iterator[Path]:
    """Yield the files of the data directory that belong to no row: keys and secrets, but no registry."""
    registries = {data_dir / REGISTRY, database or data_dir / REGISTRY}
    left_out = {each.with_name(each.name + end) for each in registries for end in ("", "-wal", "-shm", "-journal")}
    for entry in sorted(data_dir.iterdir()):
        if entry in left_out or entry.name in _LEFT_OUT or entry.name in _OF_ROWS or entry.name.startswith(_PASSING):
            continue
        paths = sorted(entry.rglob("*")) if entry.is_dir() and not entry.is_symlink() else [entry]
        yield from (path for path in paths if path.is_file() and not path.is_symlink() and path.suffix != ".new")


@contextmanager
def _new_file(target: Path) -> Iterator[IO[bytes]]:
    """Open a file for its owner alone that gets its name when it is complete and on the disk."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    partial.replace(target)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave the owner out: a dynamic user has another number on the next machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


# ---- reading ----------------------------------------------------------------------------------


def _extract(source: Path, folder: Path) -> Summary:
    """Unpack an archive to its end, which has its checksum."""
    files = octets = 0
    with gzip.open(source) as unpacked:
        with tarfile.open(fileobj=unpacked, mode="r|") as archive:
            about = _about(archive, source)
            while (member := archive.next()) is not None:
                octets += _unpack(archive, member, folder)
                files += 1
        while unpacked.read(_BLOCK):
            pass
    if not (folder / REGISTRY).is_file():
        raise StorageUnavailable(f"{source}: has no {REGISTRY}")
    return Summary(str(about.get("version")), str(about.get("created")), files, octets)


def _about(archive: tarfile.TarFile, source: Path) -> dict[str, Any]:
    """Read the first member."""
    member = archive.next()
    content = archive.extractfile(member) if member is not None and member.name == MANIFEST else None
    about = json.loads(content.read(_BLOCK)) if content is not None else None
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise StorageUnavailable(f"{source}: is no backup of span-events")
    if about["format"] > FORMAT or about.get("schema", 0) > tables.SCHEMA:
        error = StorageUnavailable(f"{source}: a newer release wrote it, span-events {about.get('version')}")
        error.hint = "Install that release, and restore with it."
        raise error
    return about


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> int:
    """Write one member, for its owner alone; refuse one that would be outside of the folder."""
    path = PurePosixPath(member.name)
    if not member.isreg() or path.is_absolute() or not path.parts or ".." in path.parts:
        raise StorageUnavailable(f"{member.name}: has no place in a data directory")
    content = archive.extractfile(member)
    assert content is not None, "a regular file has content"
    target = folder / path
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        shutil.copyfileobj(content, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())
    return member.size


# ---- both -------------------------------------------------------------------------------------


def _file_of(registry: RegistryConfig, data_dir: Path) -> Path | None:
    """Return the file of the registry; None if it is in PostgreSQL."""
    url = make_url(location.database_url(registry, data_dir))
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _place_of(files: FilesConfig, data_dir: Path) -> Path | None:
    """Return the folder of images and blobs; None if they are in an object store."""
    if bucket_of(files.url) is not None:
        return None
    return Path(files.url) if files.url else data_dir


def _require_empty(data_dir: Path, database: Path | None) -> None:
    found = {path.name for path in data_dir.iterdir()} - _LEFT_OUT if data_dir.is_dir() else set()
    if found or (database is not None and database.exists()):
        error = StorageUnavailable(f"{data_dir}: is not empty: {min(found) if found else database} is there")
        error.hint = f"Stop the server, move {data_dir} away, and restore again."
        raise error


@contextmanager
def _translated(archive: Path, data_dir: Path) -> Iterator[None]:
    """Turn the errors of a backup or restore into ones that name the file and the remedy."""
    try:
        yield
    except sqlite3.Error as exc:
        raise StorageUnavailable(f"The registry cannot be read: {exc}") from exc
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, json.JSONDecodeError, UnicodeDecodeError) as exc:
        error = StorageUnavailable(f"{archive}: is damaged, or no backup of span-events: {exc}")
        error.hint = f"Copy it again from where it was made, or take an earlier one; `gzip -t {archive}` checks a copy."
        raise error from exc
    except OSError as exc:
        where = exc.filename or f"{archive} or {data_dir}"  # a failed write has no name
        error = StorageUnavailable(f"{where}: {exc.strerror or exc}")
        if exc.errno == errno.ENOENT:
            error.hint = f"Check the path of the archive, {archive}; the folder must exist."
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            error.hint = f"Make room in {data_dir} and in the folder of the archive."
        raise error from exc
