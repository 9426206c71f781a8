"""Location of the registry: the data directory, and the database in it unless the configuration names another."""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import tempfile
from pathlib import Path
from typing import IO, Final

from span_events.config import RegistryConfig
from span_events.errors import StorageUnavailable
from span_events.log import get_logger

log = get_logger("registry")
_FILES: Final = ("lock", "registry.sqlite", "registry.sqlite-wal", "login.key", "pki", "firmware", "blobs")
"""Entries of the data directory that a server reads and writes."""


def prepare(data_dir: Path) -> None:
    """
    Make the data directory, for its owner alone, if it is not there.

    Raises:
        StorageUnavailable: The directory cannot be made or written to.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageUnavailable(f"{data_dir}: cannot be made: {exc.strerror}") from exc
    _require_access(data_dir)


def _require_access(data_dir: Path) -> None:
    """Refuse a data directory, or a file of the server in it, that this user cannot read and write."""
    for path in (data_dir, *(data_dir / name for name in _FILES)):
        try:
            error = _access_fault(path, data_dir)
        except OSError as exc:  # a link to a volume that is not mounted, or into a folder that is closed
            error = StorageUnavailable(f"{path}: cannot be used: {exc.strerror}")
            error.hint = f"{path} is a link to {os.readlink(path)}." if path.is_symlink() else ""
        if error is not None:
            raise error


def _access_fault(path: Path, data_dir: Path) -> StorageUnavailable | None:
    if os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)) or not os.path.lexists(path):
        return None
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        error = StorageUnavailable(f"{path}: is on a read-only file system")
        error.hint = "Mount it read-write, or name another --data-dir."
        return error
    owner, user = _name(path.stat().st_uid), _name(os.geteuid())
    error = StorageUnavailable(f"{path}: {user} may not read and write it; it belongs to {owner}")
    error.hint = f"Run this as {owner}, or give it all: chown -R {user} {data_dir} && chmod -R u+rwX {data_dir}"
    if owner == user:
        error.hint = f"chmod -R u+rwX {data_dir}"
    return error


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def warn_if_open(data_dir: Path) -> None:
    """Warn of a data directory that others may look into: it holds payloads, digests of tokens, and keys."""
    mode = stat.S_IMODE(data_dir.stat().st_mode)
    if mode & 0o077:
        log.warning("data_directory_open", path=str(data_dir), mode=f"{mode:04o}", hint=f"chmod 700 {data_dir}")


def probe(data_dir: Path) -> None:
    """
    Write a file and delete it: files of images and blobs, and keys, need more than a registry that can be written.

    Raises:
        StorageUnavailable: The data directory cannot be written now.
    """
    try:
        with tempfile.TemporaryFile(dir=data_dir) as file:
            file.write(b"span-events")
    except OSError as exc:
        raise StorageUnavailable(f"{data_dir}: cannot be written: {exc.strerror}") from exc


def lock(data_dir: Path, *, shared: bool = False) -> IO[str]:
    """
    Lock the data directory against other servers, until the returned file is closed or this process ends.

    A server keeps the registry in memory and writes whole rows: two of them would undo each other's changes.

    Args:
        shared: True lets processes of the same server in, whose registry is a database that they share.

    Raises:
        StorageUnavailable: Another server holds the lock, or the lock file cannot be opened.
    """
    path = data_dir / "lock"
    try:
        opened = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
    except OSError as exc:
        raise StorageUnavailable(f"{path}: cannot be opened: {exc.strerror}") from exc
    try:
        fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as exc:
        with opened:
            holder = opened.read(20).strip()
        error = StorageUnavailable(f"{data_dir}: is in use by another server{f' (process {holder})' if holder else ''}")
        error.hint = "Stop the other server, or give each its own --data-dir."
        raise error from exc
    opened.truncate()
    opened.write(f"{os.getpid()}\n")
    opened.flush()
    return opened


def database_url(config: RegistryConfig, data_dir: Path) -> str:
    """
    Return the SQLAlchemy URL of the registry.

    Raises:
        StorageUnavailable: The registry in the data directory is lost: its authority is there.
    """
    return config.url or f"sqlite+aiosqlite:///{_database(data_dir)}"


def authority_folder(data_dir: Path) -> Path:
    """Return the folder of the authority."""
    return data_dir / "pki"


def authority_exists(data_dir: Path) -> bool:
    """
    Return whether the data directory holds an authority, which is made after the registry.

    Raises:
        StorageUnavailable: This user cannot look into the data directory.
    """
    try:
        return (authority_folder(data_dir) / "root.pem").exists()
    except PermissionError as exc:
        if os.access(data_dir.parent, os.X_OK):
            _require_access(data_dir)
        raise StorageUnavailable(f"{data_dir}: cannot be read: {exc.strerror}") from exc


def _database(data_dir: Path) -> Path:
    path = data_dir / "registry.sqlite"
    if authority_exists(data_dir) and (not path.exists() or not path.stat().st_size):
        state = "is empty" if path.exists() else "is missing"
        error = StorageUnavailable(f"{path}: {state}, but the authority of this server is there ({data_dir / 'pki'})")
        error.hint = (
            "Restore registry.sqlite from a backup, or set registry.url if it is in another database. To begin anew,"
            f" without collections, devices and tokens, move {data_dir} away."
        )
        raise error
    return path
