"""Chooses where files are kept: by ``files.url``."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from span_events.clock import Clock
from span_events.config import FilesConfig
from span_events.config.sections.files import bucket_of
from span_events.metrics import Metric
from span_events.registry.files.base import Files
from span_events.registry.files.bucket import BucketFiles
from span_events.registry.files.copies import Copies
from span_events.registry.files.folder import Folder
from span_events.registry.files.objects import ObjectStore

IMAGES: Final = "firmware"
"""Folder of the images, and the first part of their keys in an object store."""
BLOBS: Final = "blobs"
COPIES: Final = "copies"
"""Folder of the local copies of objects, in the data directory."""


class Opened(NamedTuple):
    """The files of a server."""

    images: Files
    blobs: Files
    metrics: list[Metric]


def open_files(config: FilesConfig, data_dir: Path, clock: Clock) -> Opened:
    """
    Open the files of images and of blobs.

    Raises:
        ConfigurationError: The object store cannot be used with these settings.
    """
    bucket = bucket_of(config.url)
    if bucket is None:
        folder, shared = Path(config.url) if config.url else data_dir, bool(config.url)
        return Opened(Folder(folder / IMAGES, shared=shared), Folder(folder / BLOBS, shared=shared), [])
    store = ObjectStore(bucket, config, clock)
    images, blobs = (
        BucketFiles(kind, store, Copies(data_dir / COPIES / kind, config.cache), clock) for kind in (IMAGES, BLOBS)
    )
    return Opened(images, blobs, [*store.metrics(), *images.metrics(), *blobs.metrics()])
