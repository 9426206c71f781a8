"""
Firmware of devices: their reports, their targets, and changes by the API.

The consequences of a report or a new target stand in `rules`, as tables; this module applies them and publishes.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from itertools import islice
from typing import Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import FirmwareConfig
from span_events.events.activity import SpanId
from span_events.events.catalogue import FirmwareCheck, FirmwareCurrent, FirmwareUpdateRequired
from span_events.events.message import Transport
from span_events.events.reasons import FirmwareState, MessageRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.sessions import Session
from span_events.fleet.firmware.downloads import Downloads
from span_events.fleet.firmware.rules import (
    ERRORS,
    MODEL_TAG,
    REPORTED,
    Finding,
    Wanted,
    compare,
    percent,
    retargeted,
    standing,
    state_of,
    wanted,
)
from span_events.fleet.firmware.states import FirmwareStates
from span_events.fleet.firmware.takeover import TakeOver
from span_events.fleet.others import OtherNodes
from span_events.fleet.targets import current_id
from span_events.metrics import Metric
from span_events.net import Remote
from span_events.registry.files.base import Files
from span_events.registry.model import Collection, Device, Image
from span_events.registry.registry import Registry
from span_events.wire.fota import Report

_SLICE: Final = 250
"""Devices that are looked at when their collection's target changes, before other work gets its turn."""


class Firmware:
    """
    The firmware of all devices.

    Args:
        files: Where the images' octets are.
    """

    def __init__(
        self,
        config: FirmwareConfig,
        *,
        reception: Reception,
        bus: Bus,
        files: Files,
        registry: Registry,
        others: OtherNodes,
        clock: Clock,
    ) -> None:
        self._reception = reception
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self._files = files
        self._clock = clock
        self._states = FirmwareStates(
            config,
            reception=reception,
            bus=bus,
            directory=registry.directory,
            clock=clock,
            node=registry.store.node if registry.store.is_shared else "",
        )
        self.downloads = Downloads(
            self._states,
            reception=reception,
            bus=bus,
            files=files,
            directory=registry.directory,
            clock=clock,
        )
        self.take_over = TakeOver(self._states, reception=reception, registry=registry, others=others, clock=clock)
        """Publishes the updates that stalled at nodes that died."""
        self._reviews: dict[
            int, tuple[Iterator[Device], int]
        ] = {}  # per collection: the devices left to review, and the cause
        self.reports = 0
        """Reports that were read."""

    def prepare(self) -> None:
        """
        Go on where the last process stopped; before anything is received.

        Of several nodes, the one that a device downloads from has its timers, so a node that starts resumes none.
        """
        if self._registry.store.is_shared:
            self._states.prepare_to_share()
            return
        for device in list(self._directory.devices.values()):
            self._review(device, None)
        self._states.prepare()

    def shown(self, device: Device) -> None:
        """Leave the timers of a device to the node that it reports to, or downloads from, now."""
        self._states.shown(device)

    def close(self) -> None:
        """Mark the progress of downloads under way for the last batch of writes."""
        self._states.close()

    def sweep(self) -> None:
        """Run about once a second: publish stalled downloads and updates."""
        self._states.sweep()

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        reports = Metric("firmware_reports", "Firmware reports of devices.", "counter", lambda: self.reports)
        return [reports, *self.downloads.metrics(), *self._states.metrics()]

    # ---- from devices -----------------------------------------------------------------------

    def report(
        self,
        device: Device,
        report: Report,
        *,
        remote: Remote,
        transport: Transport,
        session: Session | None = None,
        unreachable: str = "",
    ) -> bool:
        """
        Process the firmware report of a device.

        Args:
            unreachable: Reason why the response cannot contain a download address, if any.

        Returns:
            True if the response announces an update.
        """
        cause = self._bus.new_id()
        self._reception.sessions.contacted(device, remote, transport=transport, session=session, cause=cause)
        firmware = device.firmware
        before = firmware.firmware_version
        self._remember(device, report)
        self._bus.publish(
            FirmwareCheck(
                origin=device.origin,
                correlation_id=cause,
                version=report.version,
                manufacturer=report.manufacturer or None,
                model_number=report.model_number or None,
                serial_number=report.serial_number or None,
            )
        )
        target = wanted(device, self._directory.images)
        image = target.image
        if target.other_model is not None:
            self._reception.rejections.rejected(
                MessageRejectedReason.WRONG_MODEL,
                device=device,
                remote=remote,
                transport=transport,
                detail=target.why_not,
                model_number=report.model_number or None,
                image_model_number=target.other_model.tags.get(MODEL_TAG),
                cause=cause,
            )
        move = REPORTED[compare(image, report.version)][standing(firmware, image)]
        if move.state is FirmwareState.CURRENT:
            self._tell_current(device, target, cause)
        elif move.offer:
            self._tell_required(device, target, cause)
        message = move.message.format(
            version=report.version,
            before=before or "unknown",
            target=image.version if image else "",
            block=firmware.download_block,
            percent=percent(firmware, image) if image else 0,
            why=target.why_not,
        )
        self._states.enter(device, move.state, image, message, cause=cause, repeat=move.repeat)
        if move.offer and image is not None:
            self._files.prefetch(image.file)
        if move.offer and unreachable:
            self._states.enter(device, move.state, image, unreachable, cause=cause, repeat=True)
        return move.offer and not unreachable

    def _remember(self, device: Device, report: Report) -> None:
        firmware = device.firmware
        firmware.firmware_version = report.version
        firmware.manufacturer = report.manufacturer
        firmware.model_number = report.model_number
        firmware.serial_number = report.serial_number
        firmware.current_firmware_id = current_id(device, self._directory.images)
        firmware.reported_ms = self._states.now_ms
        self._reception.changed(device)
        self.reports += 1

    def _tell_current(self, device: Device, target: Wanted, cause: int) -> None:
        firmware = device.firmware
        self._bus.publish(
            FirmwareCurrent(
                origin=device.origin,
                correlation_id=cause,
                version=firmware.firmware_version,
                image_id=SpanId(firmware.current_firmware_id) if firmware.current_firmware_id else None,
                message=target.why_not or None,
            )
        )

    def _tell_required(self, device: Device, target: Wanted, cause: int) -> None:
        assert target.image is not None, "the report was compared with it"
        self._bus.publish(
            FirmwareUpdateRequired(
                origin=device.origin,
                correlation_id=cause,
                current_version=device.firmware.firmware_version,
                target_version=target.image.version,
                target_image_id=SpanId(target.image.id),
            )
        )

    # ---- from the API -----------------------------------------------------------------------

    async def clear_error(self, device: Device, *, cause: int) -> None:
        """
        Clear a failed update: the next report decides anew.

        Raises:
            NotFound: The device was removed or moved meanwhile.
        """
        collection_id = device.collection.id
        async with self._registry.lock:
            self._directory.device(collection_id, device.id)
            if not self._has_failed(device):
                return
            image = wanted(device, self._directory.images).image
            differs = compare(image, device.firmware.firmware_version) is Finding.OTHER
            state = FirmwareState.INITIALIZING if differs else FirmwareState.CURRENT
            message = "the error was cleared"
            firmware = dataclasses.replace(device.firmware, state=state.value, state_message=message)
            await self._registry.store.put_devices([dataclasses.replace(device, firmware=firmware)])
            if self._has_failed(device):  # otherwise the state changed meanwhile
                self._states.enter(device, state, image, message, cause=cause)

    def _has_failed(self, device: Device) -> bool:
        return state_of(device.firmware) in ERRORS

    def image_changed(self, image: Image, cause: int) -> None:
        """Review the collection's devices after a change of an image."""
        self._review_all(image.collection_id, cause)

    def collection_updated(self, collection: Collection, change: CollectionChange, cause: int) -> None:
        """Review a collection's devices after a change of its target."""
        if change.management is not None or change.target_firmware_id is not None:
            self._review_all(collection.id, cause)

    def device_updated(self, device: Device, _change: DeviceChange, cause: int) -> None:
        """Review a device after a change of its target."""
        self._review(device, cause)

    def device_removed(self, device: Device, _cause: int) -> None:
        """Drop the timers of a removed device."""
        self._states.forget(device)

    def _review_all(self, collection_id: int, cause: int) -> None:
        """Look at all devices of a collection, some in each turn of the loop; a newer look replaces an older one."""
        under_way = collection_id in self._reviews
        self._reviews[collection_id] = iter(list(self._directory.devices_of(collection_id))), cause
        if not under_way:
            self._review_slice(collection_id)

    def _review_slice(self, collection_id: int) -> None:
        rest, cause = self._reviews.pop(collection_id)
        devices = list(islice(rest, _SLICE))
        if len(devices) == _SLICE:  # the next review is scheduled first, so a failure here does not end the others
            self._reviews[collection_id] = rest, cause
            asyncio.get_running_loop().call_soon(self._review_slice, collection_id)
        for device in devices:
            if device.collection.id == collection_id and device.id in self._directory.devices:
                self._review(device, cause)

    def _review(self, device: Device, cause: int | None) -> None:
        """Apply the rules to a device whose target may have changed."""
        firmware, target = device.firmware, wanted(device, self._directory.images)
        image = target.image
        finding = compare(image, firmware.firmware_version)
        state, same_image = state_of(firmware), firmware.state_image_id == (image.id if image else 0)
        following = retargeted(state, finding, same_image=same_image)
        if following is state and same_image:
            return
        if image is None:
            message = target.why_not
        elif finding is Finding.SAME:
            message = f"runs {image.version}, as it should"
        else:
            message = f"should run {image.version} now"
        if state is FirmwareState.DOWNLOADING:
            message += f"; its download had come to block {firmware.download_block}"
        self._reception.changed(device)
        self._states.enter(
            device, following, image, message, cause=cause, repeat=following is FirmwareState.PENDING and not same_image
        )
