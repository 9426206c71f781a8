"""
Backups: the registry, the authority's keys, and the files of images and blobs in one compressed archive.

Images and blobs in an object store stay there: the archive has the rows that name them, and the store its own backup.

A backup is consistent while a server runs. SQLite copies the registry as of one moment, and each file of an image or
blob is there from before its row until after it, so files that are linked just after that moment are complete, unless
one was deleted in between: then a new moment is chosen.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from sqlalchemy import make_url

from span_events import __version__
from span_events.config import Config, FilesConfig, RegistryConfig
from span_events.config.sections.files import bucket_of
from span_events.errors import StorageUnavailable
from span_events.ids import render
from span_events.registry import location, tables
from span_events.registry.files.folder import PENDING
from span_events.registry.files.opening import BLOBS, COPIES, IMAGES

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
        StorageUnavailable: The registry cannot be read or is in PostgreSQL, or a file cannot be read or written.
    """
    database = _database_of(config.registry, data_dir)
    if not database.exists():
        error = StorageUnavailable(f"{database}: there is no registry")
        error.hint = "--data-dir names the data directory of your server, --config its settings."
        raise error
    with (
        _translated(target),
        tempfile.TemporaryDirectory(prefix=_PASSING[0], dir=data_dir) as passing,
    ):
        folder = Path(passing)
        missing = _gather(data_dir, database, folder, _place_of(config.files, data_dir))
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
        StorageUnavailable: The archive is damaged or no backup, the data directory is in use or not empty, or a file
            cannot be written.
    """
    database = _database_of(config.registry, data_dir)
    with _translated(source), source.open("rb"):  # before anything is made
        _require_empty(data_dir, database)
        place = _place_of(config.files, data_dir) or data_dir
        for name in _OF_ROWS:
            if any((place / name).glob("*")):
                raise StorageUnavailable(f"{place / name}: is not empty (files.url)")
    location.prepare(data_dir)
    location.prepare(place)
    with (
        location.lock(data_dir),
        _translated(source),
        tempfile.TemporaryDirectory(prefix=_PASSING[1], dir=data_dir) as passing,
    ):
        folder = Path(passing)
        summary = _extract(source, folder)
        for path in sorted(folder.iterdir(), key=lambda each: each.name == REGISTRY):  # without it, no server starts
            if path.name == REGISTRY:
                shutil.move(path, database)
            else:
                shutil.move(path, (place if path.name in _OF_ROWS else data_dir) / path.name)
    return replace(summary, elsewhere=str(bucket_of(config.files.url) or ""))


# ---- writing ----------------------------------------------------------------------------------


def _gather(data_dir: Path, database: Path, folder: Path, place: Path | None) -> tuple[str, ...]:
    """
    Fill a folder with the state of one moment; return the names of the files that are missing nevertheless.

    Args:
        place: Folder of images and blobs; None if they are in an object store.
    """
    names: list[str] = []
    missing: tuple[str, ...] = ()
    for _ in range(_ATTEMPTS):
        names = _copy_registry(database, folder / REGISTRY)
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
        _link(path, folder / path.relative_to(data_dir))
    return missing


def _copy_registry(database: Path, target: Path) -> list[str]:
    """Copy the registry as of one moment; return the names of the files that its rows need."""
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StorageUnavailable(f"{database}: is damaged, so it is not backed up: {verdict}")
        rows = [
            f"{folder}/{render(identifier)}"
            for folder, table in _OF_ROWS.items()
            for (identifier,) in copy.execute(f"SELECT id FROM {table}")  # noqa: S608  # a name of ours
        ]
        copy.execute("PRAGMA journal_mode = DELETE")  # the copy is one file; the server that opens it changes that
    return rows


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


def _others(data_dir: Path, database: Path) -> Iterator[Path]:
    """Yield the files of the data directory that belong to no row: keys and secrets."""
    left_out = {database, *(database.with_name(database.name + end) for end in ("-wal", "-shm", "-journal"))}
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


def _database_of(registry: RegistryConfig, data_dir: Path) -> Path:
    """Return the file of the registry."""
    url = make_url(location.database_url(registry, data_dir))
    if url.get_backend_name() != "sqlite" or not url.database:
        error = StorageUnavailable("The registry is not in SQLite, so this command cannot copy it")
        error.hint = "Back up the database with its own tool (pg_dump), then copy the data directory."
        raise error
    return Path(url.database)


def _place_of(files: FilesConfig, data_dir: Path) -> Path | None:
    """Return the folder of images and blobs; None if they are in an object store."""
    if bucket_of(files.url) is not None:
        return None
    return Path(files.url) if files.url else data_dir


def _require_empty(data_dir: Path, database: Path) -> None:
    found = {path.name for path in data_dir.iterdir()} - _LEFT_OUT if data_dir.is_dir() else set()
    if found or database.exists():
        error = StorageUnavailable(f"{data_dir}: is not empty: {min(found) if found else database} is there")
        error.hint = f"Stop the server, move {data_dir} away, and restore again."
        raise error


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise StorageUnavailable(f"The registry cannot be read: {exc}") from exc
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise StorageUnavailable(f"{path}: is damaged, or no backup of span-events: {exc}") from exc
    except OSError as exc:
        raise StorageUnavailable(f"{exc.filename or path}: {exc.strerror or exc}") from exc
