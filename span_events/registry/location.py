"""Location of the registry: the data directory, and the database in it unless the configuration names another."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from span_events.config import RegistryConfig
from span_events.errors import StorageUnavailable


def prepare(data_dir: Path) -> None:
    """
    Make the data directory, for its owner alone, if it is not there.

    Raises:
        StorageUnavailable: It cannot be made or written to.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageUnavailable(f"{data_dir}: cannot be made: {exc.strerror}") from exc
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise StorageUnavailable(f"{data_dir}: is not writable by this user")


def lock(data_dir: Path) -> IO[str]:
    """
    Lock the data directory against other servers, until the returned file is closed or this process ends.

    A server keeps the registry in memory and writes whole rows: two of them would undo each other's changes.

    Raises:
        StorageUnavailable: Another server holds the lock, or the lock file cannot be opened.
    """
    path = data_dir / "lock"
    try:
        opened = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
    except OSError as exc:
        raise StorageUnavailable(f"{path}: cannot be opened: {exc.strerror}") from exc
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    """Return the SQLAlchemy URL of the registry."""
    return config.url or f"sqlite+aiosqlite:///{data_dir / 'registry.sqlite'}"
