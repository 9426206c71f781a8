"""Where the registry is: the data directory, and the database in it unless the configuration names another."""

from __future__ import annotations

import os
from pathlib import Path

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


def database_url(config: RegistryConfig, data_dir: Path) -> str:
    """Return the SQLAlchemy URL of the registry."""
    return config.url or f"sqlite+aiosqlite:///{data_dir / 'registry.sqlite'}"
