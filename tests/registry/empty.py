"""An empty registry for tests: made once and copied, since creating its tables takes longer than most tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from span_events.registry.store import Store

NAME: Final = "registry.sqlite"
"""The file in a data directory."""
_EMPTY: list[bytes] = []
"""The database file of an empty registry, as soon as this process has made one."""


async def make_registry(folder: Path) -> str:
    """Make an empty registry in a folder, and return its URL."""
    url = f"sqlite+aiosqlite:///{folder / NAME}"
    if not _EMPTY:
        store = Store(url)
        await store.open()
        await store.close()  # moves the write-ahead log into the file
        _EMPTY.append(_read(folder))
    _write(folder, _EMPTY[0])
    return url


def _read(folder: Path) -> bytes:
    return (folder / NAME).read_bytes()


def _write(folder: Path, content: bytes) -> None:
    (folder / NAME).write_bytes(content)
