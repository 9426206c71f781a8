"""A real fleet over a real registry, with a clock that is moved by hand and everything published recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from span_events.bus.local import LocalBus
from span_events.config import Config
from span_events.dialects.span import data_of
from span_events.errors import StorageUnavailable
from span_events.events.activity import Activity, Event
from span_events.events.message import Message
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.fleet import Fleet
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import IdGenerator, render
from span_events.metrics import Metric
from span_events.pki.authority import Authority
from span_events.registry.contents import Contents
from span_events.registry.model import Blob, Collection, Device, Gateway, Image
from span_events.registry.store import Store
from tests.bench.authorities import open_authority, prepare_authority
from tests.bench.clock import ManualClock
from tests.registry.empty import NAME, make_registry

CAUSE = 77
"""Correlation id of the API calls of tests."""
NAS = {"name": "pgw1", "addresses": ["127.0.0.1"], "secret": "an invented one, long enough", "interim_interval": 600}
_CONFIGS: dict[str, Config] = {}
"""The configurations that this process has made, by their settings: to make one takes as long as a short test."""


class FleetBench(Fleet):
    """The fleet as the server has it, with a recording bus; settings are those of a `Config`."""

    def __init__(
        self,
        store: Store,
        authority: Authority,
        clock: ManualClock,
        folder: Path,
        **settings: Any,
    ) -> None:
        config = config_of({"radius": {"nas": [NAS]}} | settings)
        self.folder = folder
        self.store = store
        self.authority = authority
        self.clock = clock
        self.identifiers = IdGenerator(config.node)
        self.bus = LocalBus(clock, self.identifiers)
        self.activities: list[Activity] = []
        self.messages: list[Message] = []
        self.bus.listen(activities=self.activities.append, messages=self.messages.append)
        super().__init__(
            config,
            folder=folder,
            bus=self.bus,
            store=store,
            authority=authority,
            clock=clock,
        )

    def image_file(self, image_id: int) -> Path:
        """Return where the octets of an image are."""
        return self.folder / "firmware" / render(image_id)

    def blob_file(self, blob: Blob) -> Path:
        """Return where the octets of a blob are."""
        return self.folder / "blobs" / render(blob.id)

    async def collection(self) -> Collection:
        """Make a collection."""
        return await self.collections.create(CollectionChange())

    async def device(self, address: str = "", collection: Collection | None = None) -> Device:
        """Make a device that has an address."""
        collection = collection or await self.collection()
        device = await self.devices.create(collection, DeviceChange(allocated_ip=address), cause=CAUSE)
        self.activities.clear()
        return device

    async def gateway(self, collection: Collection | None = None, **fields: Any) -> Gateway:
        """Make a gateway; the fields are those of a `GatewayChange`."""
        return await self.gateways.create(collection or await self.collection(), GatewayChange(**fields))

    async def image(self, collection: Collection, version: str = "1.0", octets: bytes = b"") -> Image:
        """Make a firmware image; its octets are its version unless others are given."""
        async with self.images.upload(collection) as upload:
            await upload.write(octets or version.encode())
            return await self.images.create(collection, upload, version=version, filename="fw.bin", cause=CAUSE)

    @property
    def events(self) -> list[Event]:
        """All events published since the last `clear`."""
        return [each.event for each in self.activities]

    @property
    def published(self) -> list[tuple[str, dict[str, str]]]:
        """The same as names and data."""
        return [(each.name, dict(data_of(each))) for each in self.events]

    @property
    def names(self) -> list[str]:
        """The names only."""
        return [each.name for each in self.events]

    def gauge(self, name: str) -> float | Mapping[str, float]:
        """Return a metric of the mobile network or of the registry."""
        metrics = [*self.cellular.metrics(), *self.store.metrics()]
        return next(each.value() for each in metrics if isinstance(each, Metric) and each.name == name)

    def drain(self) -> list[tuple[str, dict[str, str]]]:
        """Return the published events, and clear them."""
        published = self.published
        self.activities.clear()
        return published


@asynccontextmanager
async def fleet_bench(folder: Path, *, clock: ManualClock | None = None, **settings: Any) -> AsyncIterator[FleetBench]:
    """Open a fleet over a new registry in a folder."""
    store, contents = await _open_store(folder)
    clock = clock or ManualClock()
    authority = await open_authority(folder / "pki", clock, **settings.get("pki", {}))
    try:
        bench = FleetBench(store, authority, clock, folder, **settings)
        await bench.fill(contents)
        yield bench
        with suppress(StorageUnavailable):  # a test may have closed the store
            await bench.close()
    finally:
        await store.close()


def config_of(settings: Mapping[str, Any]) -> Config:
    """Return the configuration with some settings; the same settings give the same object, which nothing changes."""
    key = repr(settings)
    if key not in _CONFIGS:
        _CONFIGS[key] = Config.model_validate(settings)
    return _CONFIGS[key]


async def prepare_data(folder: Path, clock: ManualClock, settings: Mapping[str, Any]) -> None:
    """Fill an empty data directory with a registry and an authority; a server would take longer to make them."""
    if _is_empty(folder) and "registry" not in settings:
        await make_registry(folder)
        await prepare_authority(folder / "pki", clock, **settings.get("pki", {}))


def _is_empty(folder: Path) -> bool:
    return folder.exists() and not any(folder.iterdir())


async def _open_store(folder: Path) -> tuple[Store, Contents]:
    """Open the registry of a folder, or a new one, which has nothing to read."""
    if _has_registry(folder):
        store = Store(f"sqlite+aiosqlite:///{folder / NAME}")
        await store.open()
        return store, await store.load()
    store = Store(await make_registry(folder))
    await store.open()
    return store, Contents(**{each.name: [] for each in fields(Contents)})


def _has_registry(folder: Path) -> bool:
    return (folder / NAME).exists()
