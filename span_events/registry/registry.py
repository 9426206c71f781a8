"""The registry: what is written to the store, and what readers see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from span_events.registry.directory import Directory
from span_events.registry.store import Contents, Store

Guard = Callable[[], None]
"""A check of the caller's own, which a change runs while it holds the lock; it raises what forbids the change."""


def unguarded() -> None:
    """Forbid nothing."""


class Registry:
    """
    Store, directory, and the lock of their changes.

    A change of collections, devices, gateways, images, blobs, outputs or certificates holds `lock` from its checks to
    its end. It checks the directory, writes the store, then changes the directory: so a failed write changes nothing,
    and no device joins a collection during its removal. Readers use the directory without the lock.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.directory = Directory()
        self.lock = asyncio.Lock()

    def fill(self, contents: Contents) -> None:
        """Fill the directory with the contents of the store, once, before the listeners start."""
        self.directory.fill(
            collections=contents.collections,
            devices=contents.devices,
            certificates=contents.certificates,
            gateways=contents.gateways,
            images=contents.images,
            blobs=contents.blobs,
            outputs=contents.outputs,
        )
