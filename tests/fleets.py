"""A real fleet over a real registry, with a clock that is moved by hand and everything published recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from span_events.bus.local import LocalBus
from span_events.config import (
    BlobsConfig,
    CellularConfig,
    DownstreamConfig,
    FirmwareConfig,
    GatewaysConfig,
    MessagesConfig,
    PkiConfig,
    RejectionsConfig,
    SessionsConfig,
)
from span_events.events.activity import Activity, Event, data_of
from span_events.events.catalogue import KEYS
from span_events.events.message import Message
from span_events.fleet.blobs import Blobs
from span_events.fleet.cellular import Cellular
from span_events.fleet.certificates import Certificates
from span_events.fleet.collections import CollectionChange, Collections
from span_events.fleet.devices import DeviceChange, Devices
from span_events.fleet.downstream import Outbox
from span_events.fleet.firmware import Firmware
from span_events.fleet.gateway_sessions import GatewaySessions
from span_events.fleet.gateways import GatewayChange, Gateways
from span_events.fleet.images import Images
from span_events.fleet.psks import Psks
from span_events.fleet.reception import Reception
from span_events.ids import IdGenerator
from span_events.pki.authority import Authority
from span_events.registry.directory import Directory
from span_events.registry.files import Files
from span_events.registry.model import Collection, Device, Gateway, Image
from span_events.registry.store import Store
from tests.authorities import open_authority
from tests.clock import ManualClock

CAUSE = 77
"""Correlation id of the API calls of tests."""


class FleetBench:
    """Collections, devices and outbox as the server has them."""

    def __init__(
        self, store: Store, authority: Authority, clock: ManualClock, folder: Path, **settings: dict[str, Any]
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.authority = authority
        self.identifiers = IdGenerator()
        self.store = store
        self.directory = Directory()
        self.bus = LocalBus(self.clock, self.identifiers)
        self.activities: list[Activity] = []
        self.messages: list[Message] = []
        self.bus.listen(activities=self.activities.append, messages=self.messages.append)
        lock = asyncio.Lock()
        shared: dict[str, Any] = {
            "store": store,
            "directory": self.directory,
            "clock": self.clock,
            "identifiers": self.identifiers,
        }
        self.collections = Collections(lock=lock, **shared)
        self.outbox = Outbox(DownstreamConfig(**settings.get("downstream", {})), bus=self.bus, **shared)
        self.reception = Reception(
            messages=MessagesConfig(**settings.get("messages", {})),
            sessions=SessionsConfig(**settings.get("sessions", {})),
            rejections=RejectionsConfig(**settings.get("rejections", {})),
            bus=self.bus,
            lock=lock,
            **shared,
        )
        self.devices = Devices(bus=self.bus, reception=self.reception, outbox=self.outbox, lock=lock, **shared)
        self.certificates = Certificates(
            PkiConfig(**settings.get("pki", {})),
            authority=authority,
            bus=self.bus,
            store=store,
            directory=self.directory,
            lock=lock,
            clock=clock,
        )
        self.psks = Psks(bus=self.bus, store=store, directory=self.directory, lock=lock)
        self.cellular = Cellular(
            CellularConfig(**settings.get("cellular", {})),
            rejections=RejectionsConfig(**settings.get("rejections", {})),
            interim_intervals={"pgw1": 600.0},
            bus=self.bus,
            reception=self.reception,
            **shared,
        )
        self.devices.on_created.append(self.cellular.device_created)
        self.devices.on_updated.append(self.cellular.device_updated)
        self.devices.on_removed.append(self.cellular.device_removed)
        self.gateway_sessions = GatewaySessions(
            GatewaysConfig(**settings.get("gateways", {})),
            RejectionsConfig(**settings.get("rejections", {})),
            bus=self.bus,
            directory=self.directory,
            reception=self.reception,
            outbox=self.outbox,
            used=self.certificates.used,
            clock=clock,
            identifiers=self.identifiers,
        )
        self.gateway_sessions.follow(self.devices, self.outbox, self.certificates)
        self.gateways = Gateways(bus=self.bus, sessions=self.gateway_sessions, outbox=self.outbox, lock=lock, **shared)
        self.image_files = Files(folder / "firmware")
        self.image_files.prepare()
        self.images = Images(
            FirmwareConfig(**settings.get("firmware", {})), files=self.image_files, lock=lock, **shared
        )
        self.firmware = Firmware(
            FirmwareConfig(**settings.get("firmware", {})),
            reception=self.reception,
            bus=self.bus,
            files=self.image_files,
            lock=lock,
            **shared,
        )
        self.firmware.attend(self.images, self.collections, self.devices)
        self.blob_files = Files(folder / "blobs")
        self.blob_files.prepare()
        self.blobs = Blobs(
            BlobsConfig(**settings.get("blobs", {})),
            reception=self.reception,
            bus=self.bus,
            files=self.blob_files,
            lock=lock,
            **shared,
        )

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
        """Everything published since the last `clear`."""
        return [each.event for each in self.activities]

    @property
    def told(self) -> list[tuple[str, dict[str, str]]]:
        """The same as names and data."""
        return [(each.name, dict(data_of(each, KEYS[type(each)]))) for each in self.events]

    @property
    def names(self) -> list[str]:
        """The names only."""
        return [each.name for each in self.events]

    def gauge(self, name: str) -> float | Mapping[str, float]:
        """Return a metric of the mobile network."""
        return next(each.value() for each in self.cellular.metrics() if each.name == name)

    def take(self) -> list[tuple[str, dict[str, str]]]:
        """Return what was published, and begin anew."""
        told = self.told
        self.activities.clear()
        return told


@asynccontextmanager
async def fleet_bench(folder: Path, *, clock: ManualClock | None = None, **settings: Any) -> AsyncIterator[FleetBench]:
    """Open a fleet over a new registry in a folder."""
    store = Store(f"sqlite+aiosqlite:///{folder / 'registry.sqlite'}")
    await store.open()
    clock = clock or ManualClock()
    authority = await open_authority(folder / "pki", clock, **settings.get("pki", {}))
    try:
        bench = FleetBench(store, authority, clock, folder, **settings)
        yield bench
        bench.image_files.close()
        await bench.blobs.close()
    finally:
        await store.close()
