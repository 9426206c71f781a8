"""The fleet: composes its parts, and connects each change to the parts that react to it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import Config
from span_events.fleet.blobs.blobs import Blobs
from span_events.fleet.cellular.attach import Cellular
from span_events.fleet.certificates import Certificates
from span_events.fleet.collections import Collections
from span_events.fleet.devices.devices import Devices
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.fleet.devices.psks import Psks
from span_events.fleet.firmware.images import Images
from span_events.fleet.firmware.reports import Firmware
from span_events.fleet.gateways.gateways import Gateways
from span_events.fleet.gateways.sessions import GatewaySessions
from span_events.fleet.identity import Identification
from span_events.ids import IdGenerator
from span_events.metrics import Metric
from span_events.pki.authority import Authority
from span_events.registry.directory import Directory
from span_events.registry.files import Files
from span_events.registry.store import Contents, Store


class Fleet:
    """
    The parts that manage devices and gateways; listeners and the API each get the part that they use.

    Args:
        folder: The data directory, where images and blobs are kept as files.
    """

    def __init__(
        self,
        config: Config,
        *,
        folder: Path,
        bus: Bus,
        store: Store,
        authority: Authority,
        clock: Clock,
        identifiers: IdGenerator,
    ) -> None:
        lock = asyncio.Lock()  # one change of the registry by the API at a time
        self.directory = directory = Directory()
        self.identification = Identification(directory, authority.issuer_of)
        self.image_files = Files(folder / "firmware")
        self.blob_files = Files(folder / "blobs")
        self.collections = Collections(
            store=store, directory=directory, lock=lock, clock=clock, identifiers=identifiers
        )
        self.outbox = Outbox(
            config.downstream, bus=bus, store=store, directory=directory, clock=clock, identifiers=identifiers
        )
        self.reception = Reception(
            messages=config.messages,
            sessions=config.sessions,
            rejections=config.rejections,
            bus=bus,
            store=store,
            directory=directory,
            identification=self.identification,
            lock=lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.devices = Devices(
            bus=bus,
            store=store,
            directory=directory,
            reception=self.reception,
            outbox=self.outbox,
            lock=lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.certificates = Certificates(
            config.pki, authority=authority, bus=bus, store=store, directory=directory, lock=lock, clock=clock
        )
        self.psks = Psks(bus=bus, store=store, directory=directory, lock=lock)
        self.cellular = Cellular(
            config.cellular,
            rejections=config.rejections,
            interim_intervals=config.radius.interim_intervals(),
            bus=bus,
            store=store,
            directory=directory,
            reception=self.reception,
            clock=clock,
            identifiers=identifiers,
        )
        self.gateway_sessions = GatewaySessions(
            config.gateways,
            config.rejections,
            bus=bus,
            directory=directory,
            reception=self.reception,
            outbox=self.outbox,
            used=self.certificates.used,
            clock=clock,
            identifiers=identifiers,
        )
        self.gateways = Gateways(
            bus=bus,
            store=store,
            directory=directory,
            sessions=self.gateway_sessions,
            outbox=self.outbox,
            lock=lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.images = Images(
            config.firmware,
            files=self.image_files,
            store=store,
            directory=directory,
            lock=lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.firmware = Firmware(
            config.firmware,
            reception=self.reception,
            bus=bus,
            files=self.image_files,
            store=store,
            directory=directory,
            lock=lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.blobs = Blobs(
            config.blobs,
            reception=self.reception,
            bus=bus,
            files=self.blob_files,
            store=store,
            directory=directory,
            lock=lock,
            clock=clock,
            identifiers=identifiers,
        )
        self._introduce()

    def _introduce(self) -> None:
        """Register each part for the changes of others, in the intended order of their events."""
        downlink = self.gateway_sessions.downlink
        self.devices.on_created += [downlink.device_created, self.cellular.device_created]
        self.devices.on_updated += [
            self.firmware.device_updated,
            downlink.device_updated,
            self.cellular.device_updated,
        ]
        self.devices.on_removed += [
            self.firmware.device_removed,
            downlink.device_removed,
            self.cellular.device_removed,
        ]
        self.collections.on_updated += [
            self.firmware.collection_updated,
            self.reception.collection_updated,
            self.gateway_sessions.collection_updated,
        ]
        self.images.on_changed.append(self.firmware.image_changed)
        self.outbox.on_queued.append(downlink.deliver)
        self.certificates.on_revoked += [
            self.gateway_sessions.certificate_revoked,
            self.reception.certificate_revoked,
        ]
        self.psks.on_changed.append(self.reception.psk_changed)

    async def fill(self, contents: Contents) -> None:
        """
        Load the registry and the data directory, before the listeners start.

        Raises:
            StorageUnavailable: The data directory cannot be used.
        """
        self.directory.fill(
            collections=contents.collections,
            devices=contents.devices,
            certificates=contents.certificates,
            gateways=contents.gateways,
            images=contents.images,
            blobs=contents.blobs,
        )
        self.image_files.prepare(image.id for image in contents.images)
        self.blob_files.prepare(blob.id for blob in contents.blobs)
        self.outbox.fill(contents.downstream)
        self.firmware.prepare()
        await self.certificates.prune()
        self.cellular.fill(contents.attachments, contents.reservations)

    def sweep(self) -> None:
        """
        Sweep every part, also when another fails; called about once a second.

        Raises:
            Exception: The first failure.
        """
        failure: Exception | None = None
        for part in (self.reception, self.cellular, self.gateway_sessions, self.outbox, self.firmware, self.blobs):
            try:
                part.sweep()
            except Exception as exc:
                failure = failure or exc
        if failure is not None:
            raise failure

    async def flush(self) -> None:
        """
        Write the pending changes of every part, also when another fails.

        Raises:
            Exception: The first failure; the next call retries the changes that were not written.
        """
        failure: Exception | None = None
        for write in (self.cellular.commit, self.reception.flush, self.gateways.flush, self.outbox.flush):
            try:
                await write()
            except Exception as exc:
                failure = failure or exc
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """End transfers under way and write pending changes, after the listeners have closed."""
        async with AsyncExitStack() as stack:  # every step of it, the last one first
            stack.callback(self.image_files.close)
            stack.callback(self.blob_files.close)
            stack.push_async_callback(self.flush)
            stack.callback(self.firmware.close)
            stack.push_async_callback(self.blobs.close)

    def metrics(self) -> list[Metric]:
        """Return the metrics."""
        parts = (
            *(self.reception, self.outbox, self.certificates, self.cellular),
            *(self.gateway_sessions, self.images, self.firmware, self.blobs),
        )
        return [metric for part in parts for metric in part.metrics()]
