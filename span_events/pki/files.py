"""Files that hold private keys: for their owner alone from the first octet, and there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from span_events.errors import StorageUnavailable

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


def prepare_folder(folder: Path) -> None:
    """
    Make the folder, for its owner alone, if it is not there; close it to others if they may look into it.

    Raises:
        StorageUnavailable: The folder cannot be made, or its mode cannot be set.
    """
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(_FOLDER_MODE)
    except OSError as exc:
        raise StorageUnavailable(f"{folder}: cannot be made, or closed to other users: {exc.strerror}") from exc


def changed_ns(folder: Path) -> int:
    """
    Return when a file was last added to a folder or taken from it, nanoseconds.

    Raises:
        StorageUnavailable: The folder is not there.
    """
    try:
        return folder.stat().st_mtime_ns
    except OSError as exc:
        raise StorageUnavailable(f"{folder}: cannot be read: {exc.strerror}") from exc


def read(path: Path) -> bytes | None:
    """
    Read a file; None if it does not exist.

    Raises:
        StorageUnavailable: The file cannot be read.
    """
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(_FILE_MODE)
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageUnavailable(f"{path}: cannot be read: {exc.strerror}") from exc


def create(path: Path, content: bytes) -> bytes:
    """
    Write a new file; if another process was quicker, its file remains.

    Returns:
        The content of the file.

    Raises:
        StorageUnavailable: The file cannot be written.
    """

    def link(written: str) -> None:
        with suppress(FileExistsError):
            os.link(written, path)

    _write(path, content, link)
    found = read(path)
    assert found is not None, "the file was just written"
    return found


def replace(path: Path, content: bytes) -> None:
    """
    Write a file anew in one step.

    Raises:
        StorageUnavailable: The file cannot be written; the old one remains.
    """
    _write(path, content, lambda written: os.replace(written, path))


def _write(path: Path, content: bytes, name: Callable[[str], None]) -> None:
    """Bring the content to the disk under a passing name, then give it its own."""
    passing = f"{path}.{secrets.token_hex(8)}.new"
    try:
        try:
            opened = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
            with os.fdopen(opened, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            name(passing)
        finally:
            Path(passing).unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # or a power cut could take the name away
        finally:
            os.close(folder)
    except OSError as exc:
        raise StorageUnavailable(f"{path}: cannot be written: {exc.strerror}") from exc
