"""The fleet: composes its parts, and connects each change to the parts that react to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import Config
from span_events.fleet.blobs.blobs import Blobs
from span_events.fleet.cellular.attach import Cellular
from span_events.fleet.certificates import Certificates
from span_events.fleet.chirpstack.intake import Intake
from span_events.fleet.collections import Collections
from span_events.fleet.devices.devices import Devices
from span_events.fleet.devices.facts import DeviceFacts
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.fleet.devices.psks import Psks
from span_events.fleet.firmware.images import Images
from span_events.fleet.firmware.reports import Firmware
from span_events.fleet.gateways.gateways import Gateways
from span_events.fleet.gateways.sessions import GatewaySessions
from span_events.fleet.identity import Identification
from span_events.fleet.live import LiveValues
from span_events.fleet.others import OtherNodes
from span_events.fleet.outputs.everywhere import HealthEverywhere
from span_events.fleet.outputs.health import OutputsHealth
from span_events.fleet.outputs.outputs import Outputs
from span_events.fleet.replica import Replica
from span_events.metrics import Measure
from span_events.pki.authority import Authority
from span_events.registry.contents import Contents
from span_events.registry.files.opening import open_files
from span_events.registry.registry import Registry
from span_events.registry.store import Store


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
    ) -> None:
        self.registry = registry = Registry(store)
        self.directory = registry.directory
        self.others = OtherNodes(bus=bus, registry=registry)
        self.identification = Identification(registry.directory, authority.issuer_of, registry.questions)
        self._files = open_files(config.files, folder, clock, shared=config.is_cluster)
        self.image_files, self.blob_files = self._files.images, self._files.blobs
        self._has_shared_files = bool(config.files.url)
        self.collections = Collections(bus=bus, registry=registry)
        self.outbox = Outbox(config.downstream, bus=bus, registry=registry, clock=clock)
        self.reception = Reception(
            messages=config.messages,
            sessions=config.sessions,
            rejections=config.rejections,
            bus=bus,
            registry=registry,
            identification=self.identification,
            clock=clock,
        )
        self.facts = DeviceFacts(
            registry.directory,
            self.reception.inbox,
            integration_events=config.chirpstack.integration_events,
        )
        self.devices = Devices(
            bus=bus,
            registry=registry,
            reception=self.reception,
            outbox=self.outbox,
            clock=clock,
        )
        self.chirpstack = Intake(
            config.chirpstack,
            config.rejections,
            bus=bus,
            registry=registry,
            devices=self.devices,
            reception=self.reception,
            clock=clock,
        )
        self.certificates = Certificates(config.pki, authority=authority, bus=bus, registry=registry, clock=clock)
        self.psks = Psks(bus=bus, registry=registry)
        self.cellular = Cellular(
            config.cellular,
            rejections=config.rejections,
            interim_intervals=config.radius.interim_intervals(),
            bus=bus,
            registry=registry,
            reception=self.reception,
            others=self.others,
            clock=clock,
        )
        self.gateway_sessions = GatewaySessions(
            config.gateways,
            config.rejections,
            bus=bus,
            directory=registry.directory,
            reception=self.reception,
            outbox=self.outbox,
            used=self.certificates.used,
            clock=clock,
        )
        self.gateways = Gateways(
            bus=bus,
            registry=registry,
            sessions=self.gateway_sessions,
            outbox=self.outbox,
            clock=clock,
        )
        self.images = Images(config.firmware, files=self.image_files, bus=bus, registry=registry, clock=clock)
        self.firmware = Firmware(
            config.firmware,
            reception=self.reception,
            bus=bus,
            files=self.image_files,
            registry=registry,
            others=self.others,
            clock=clock,
        )
        self.blobs = Blobs(
            config.blobs,
            reception=self.reception,
            bus=bus,
            files=self.blob_files,
            registry=registry,
            clock=clock,
        )
        self.outputs = Outputs(config.outputs, bus=bus, registry=registry)
        self.outputs_health = OutputsHealth(config.outputs, bus=bus, clock=clock)
        self.identification.former_holder = self.cellular.former_holder
        self.identification.subscriber_at = self.cellular.subscriber_at
        self.replica = Replica(
            bus=bus,
            directory=registry.directory,
            reception=self.reception,
            outbox=self.outbox,
            gateway_sessions=self.gateway_sessions,
            cellular=self.cellular,
        )
        if store.is_shared:
            registry.share(self.replica)
        self.outputs_everywhere = HealthEverywhere(self.outputs_health, self.others, directory=registry.directory)
        self.live = LiveValues(self.others, directory=registry.directory, inbox=self.reception.inbox)
        self._introduce()

    def _introduce(self) -> None:
        """Register each part for the changes of others, in the intended order of their events."""
        downlink = self.gateway_sessions.downlink
        eui_index = self.chirpstack.index
        self.devices.on_created += [
            downlink.device_created,
            self.cellular.device_created,
            eui_index.device_created,
        ]
        self.devices.on_updated += [
            self.firmware.device_updated,
            downlink.device_updated,
            self.cellular.device_updated,
            eui_index.device_updated,
        ]
        self.devices.on_removed += [
            self.firmware.device_removed,
            downlink.device_removed,
            self.cellular.device_removed,
            eui_index.device_removed,
        ]
        self.collections.on_updated += [
            self.firmware.collection_updated,
            self.reception.sessions.collection_updated,
            self.gateway_sessions.collection_updated,
        ]
        self.images.on_changed.append(self.firmware.image_changed)
        self.outbox.on_queued.append(downlink.deliver)
        self.certificates.on_revoked += [
            self.gateway_sessions.certificate_revoked,
            self.reception.sessions.certificate_revoked,
        ]
        self.psks.on_changed.append(self.reception.sessions.psk_changed)
        self._introduce_replica()

    def _introduce_replica(self) -> None:
        """
        Register the parts that react to the changes of other nodes.

        Reviews of firmware and of attachments are not among them: the node that makes a change does both.
        """
        replica, downlink, eui_index = self.replica, self.gateway_sessions.downlink, self.chirpstack.index
        replica.on_device_created += [downlink.device_created, eui_index.device_created]
        replica.on_device_updated += [downlink.device_updated, eui_index.device_updated]
        replica.on_device_removed += [
            self.firmware.device_removed,
            downlink.device_removed,
            eui_index.device_removed,
        ]
        replica.on_collection_updated += [
            self.reception.sessions.collection_updated,
            self.gateway_sessions.collection_updated,
        ]
        replica.on_firmware_shown.append(self.firmware.shown)
        replica.on_revoked += self.certificates.on_revoked
        replica.on_warned.append(self.certificates.warned)
        replica.on_psk_changed += self.psks.on_changed
        replica.on_output_changed.append(self.outputs.changed)
        replica.on_output_removed.append(self.outputs.removed)

    async def fill(self, contents: Contents) -> None:
        """
        Load the registry and the data directory, before the listeners start.

        Raises:
            StorageUnavailable: The data directory cannot be used.
        """
        self.registry.fill(contents)
        self.chirpstack.index.fill(self.directory.devices.values())
        await self.image_files.prepare(self.directory.images.has)
        await self.blob_files.prepare(self.directory.blobs.has)
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
        for part in (
            *(self.reception, self.cellular, self.gateway_sessions, self.outbox),
            *(self.firmware, self.blobs, self.outputs_health, self.chirpstack),
        ):
            try:
                part.sweep()
            except Exception as exc:
                failure = failure or exc
        if failure is not None:
            raise failure

    async def lead(self) -> None:
        """
        Do what one of several nodes does for all, if it is this one; called about once a second.

        Raises:
            StorageUnavailable: PostgreSQL is away; the next call tries again.
        """
        await _all_of(self.cellular.lead, self.firmware.take_over.look, self.outbox.lead)

    async def check_files(self) -> None:
        """Look whether images and blobs can be stored, and settle uploads that died; called every other second."""
        await self.image_files.check(is_current=self.registry.is_current)
        await self.blob_files.check(is_current=self.registry.is_current)

    def files_health(self) -> dict[str, str]:
        """Return the health of a place of files that other nodes share; devices are served without it, too."""
        if not self._has_shared_files:
            return {}
        fault = self.image_files.fault or self.blob_files.fault
        return {"file_store": f"degraded: {fault}" if fault else "ok"}

    async def flush(self) -> None:
        """
        Write the pending changes of every part, also when another fails.

        Raises:
            Exception: The first failure; the next call retries the changes that were not written.
        """
        parts = (self.reception, self.gateways, self.outbox, self.certificates)
        await _all_of(self.cellular.commit, *(each.flush for each in parts))

    async def close(self) -> None:
        """End transfers under way and write pending changes, after the listeners have closed."""
        async with AsyncExitStack() as stack:  # every step of it, the last one first
            stack.push_async_callback(self._files.close)
            stack.push_async_callback(self.flush)
            stack.push_async_callback(self.outbox.close)
            stack.callback(self.firmware.close)
            stack.push_async_callback(self.blobs.close)

    def metrics(self) -> list[Measure]:
        """Return the metrics."""
        parts = (
            *((self.registry.questions,) if self.registry.is_shared else ()),
            *(self.reception, self.outbox, self.certificates, self.cellular),
            *(self.gateway_sessions, self.images, self.firmware, self.blobs, self.outputs_health, self.chirpstack),
        )
        return [*self._files.metrics, *(metric for part in parts for metric in part.metrics())]


async def _all_of(*works: Callable[[], Awaitable[None]]) -> None:
    """Run all works, even after one fails; then raise the first failure."""
    failure: Exception | None = None
    for work in works:
        try:
            await work()
        except Exception as exc:
            failure = failure or exc
    if failure is not None:
        raise failure
