"""Chooses where files are kept: by ``files.url``."""

from __future__ import annotations

import fcntl
from itertools import count
from pathlib import Path
from typing import IO, Final, NamedTuple

from span_events.clock import Clock
from span_events.config import FilesConfig
from span_events.config.sections.files import bucket_of
from span_events.errors import StorageUnavailable
from span_events.metrics import Metric
from span_events.registry import location
from span_events.registry.files.base import Files
from span_events.registry.files.bucket import BucketFiles
from span_events.registry.files.copies import Copies
from span_events.registry.files.folder import Folder
from span_events.registry.files.objects import ObjectStore

IMAGES: Final = "firmware"
"""Folder of the images, and the first part of their keys in an object store."""
BLOBS: Final = "blobs"
COPIES: Final = "copies"
"""Folder in the data directory that holds, in a folder for each process, local copies of objects."""


class Opened(NamedTuple):
    """The files of a process."""

    images: Files
    blobs: Files
    metrics: list[Metric]
    lock: IO[str] | None = None
    """Holds the folder of local copies for this process."""

    async def close(self) -> None:
        """Close images and blobs, and release the folder of local copies."""
        await self.images.close()
        await self.blobs.close()
        if self.lock is not None:
            self.lock.close()


def open_files(config: FilesConfig, data_dir: Path, clock: Clock, *, shared: bool = False) -> Opened:
    """
    Open the files of images and of blobs.

    Args:
        shared: Whether other processes use the data directory, too.

    Raises:
        ConfigurationError: The object store cannot be used with these settings.
        StorageUnavailable: The data directory cannot be used.
    """
    bucket = bucket_of(config.url)
    if bucket is None:
        folder, shared = Path(config.url) if config.url else data_dir, shared or bool(config.url)
        return Opened(Folder(folder / IMAGES, shared=shared), Folder(folder / BLOBS, shared=shared), [])
    store = ObjectStore(bucket, config, clock)
    folder, lock = _own_folder(data_dir / COPIES)
    images, blobs = (BucketFiles(kind, store, Copies(folder / kind, config.cache), clock) for kind in (IMAGES, BLOBS))
    return Opened(images, blobs, [*store.metrics(), *images.metrics(), *blobs.metrics()], lock)


def _own_folder(parent: Path) -> tuple[Path, IO[str]]:
    """Lock the first folder of copies that no other process of this data directory has; a restart finds it again."""
    for number in count():
        folder = parent / str(number)
        location.prepare(folder)
        try:
            opened = (folder / "lock").open("w")
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                opened.close()
            else:
                return folder, opened
        except OSError as exc:
            raise StorageUnavailable(f"{folder / 'lock'}: cannot be locked: {exc.strerror}") from exc
    raise AssertionError("the numbers have no end")
