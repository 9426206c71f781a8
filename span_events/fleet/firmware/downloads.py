"""
Downloads: images on their way to devices, block by block.

Only the progress of a download is kept: each block is read from the image's file on request,
in any order and any number of times. One request is refused: a later block of another image than the one
with which the download began, as the device would end up with a mixture.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.errors import StorageUnavailable
from span_events.events.activity import SpanId
from span_events.events.catalogue import FirmwareRequested
from span_events.events.message import Transport
from span_events.events.reasons import FirmwareState, MessageRejectedReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.sessions import Session
from span_events.fleet.firmware.rules import (
    HELD_BACK,
    HELD_BACK_TEXT,
    SETTLED,
    UNDER_WAY,
    is_complete,
    percent,
    state_of,
    wanted,
)
from span_events.fleet.firmware.states import FirmwareStates, not_arriving
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.net import Remote
from span_events.registry.directory import Directory
from span_events.registry.files.base import BeingFetched, Files
from span_events.registry.model import Device, Image

log = get_logger("firmware")

_TOLD_EVERY: Final = 10
"""Per cent of a download."""
_MANY_REPEATS: Final = 10
"""Requests for the same block after the first; one CON is sent five times at most (MAX_RETRANSMIT, RFC 7252 §4.8)."""
_SOON_MS: Final = 60_000
"""Milliseconds: so many requests within this time are a loop; slower ones are told when the download has stalled."""


class FetchRefused(Exception):
    """A block is not served; its event is published already, and ``str()`` is the text for the device."""

    def __init__(self, reason: MessageRejectedReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Chunk(NamedTuple):
    """A block of an image."""

    image: Image
    octets: bytes
    more: bool


class Downloads:
    """
    The downloads of all devices.

    Args:
        files: Files of the images.
    """

    def __init__(
        self,
        states: FirmwareStates,
        *,
        reception: Reception,
        bus: Bus,
        files: Files,
        directory: Directory,
        clock: Clock,
    ) -> None:
        self._states = states
        self._reception = reception
        self._bus = bus
        self._files = files
        self._directory = directory
        self._clock = clock
        self.blocks = 0
        """Blocks that were served."""
        self.unreadable = 0
        """Blocks that could not be served, because an image's file cannot be read."""

    def fetch(
        self,
        device: Device,
        number: int,
        size: int,
        *,
        remote: Remote,
        transport: Transport,
        session: Session | None = None,
    ) -> Chunk:
        """
        Serve a block of a device's target image.

        Args:
            number: Number of the block, counted in blocks of ``size`` octets.

        Raises:
            FetchRefused: The device has no target, its image has no such block, or another download is under way.
            BeingFetched: The image comes from the object store; call again when it is here.
        """
        cause = self._bus.new_id()
        self._reception.sessions.contacted(device, remote, transport=transport, session=session, cause=cause)
        start = number * size
        try:
            image = self._image(device, number, size)
            octets = self._read(image, start, size)
        except FetchRefused as exc:
            self._reception.rejections.rejected(
                exc.reason, device=device, remote=remote, transport=transport, detail=str(exc), cause=cause
            )
            raise
        end = start + len(octets)
        told = self._note(device, image, number, size, end, cause)
        if start and not told:  # new downloads and events are limited like messages
            self._reception.refund(device)
        return Chunk(image, octets, end < image.length)

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric("firmware_blocks", "Blocks of images that were served.", "counter", lambda: self.blocks),
            Metric(
                "firmware_unreadable",
                "Blocks that were not served, because an image's file could not be read.",
                "counter",
                lambda: self.unreadable,
            ),
        ]

    def _image(self, device: Device, number: int, size: int) -> Image:
        target = wanted(device, self._directory.images)
        image = target.image
        if image is None:
            raise FetchRefused(MessageRejectedReason.NO_FIRMWARE, target.why_not)
        self._check_not_held_back(device, image, number)
        if number and device.firmware.download_image_id not in (0, image.id):
            detail = f"block {number} is asked for, but the image is {image.version} now: begin with block 0"
            raise FetchRefused(MessageRejectedReason.IMAGE_CHANGED, detail)
        if number * size >= image.length:
            last = -(-image.length // size) - 1
            detail = f"block {number} is asked for, the last one is {last}"
            raise FetchRefused(MessageRejectedReason.MALFORMED, detail)
        return image

    def _check_not_held_back(self, device: Device, image: Image, number: int) -> None:
        """Refuse a download that the last report held back, except a retransmission of its last block."""
        firmware = device.firmware
        held_back = state_of(firmware) in HELD_BACK and firmware.state_image_id == image.id
        if held_back and not (number and number == firmware.download_block):
            raise FetchRefused(MessageRejectedReason.NO_FIRMWARE, HELD_BACK_TEXT.format(target=image.version))

    def _read(self, image: Image, start: int, size: int) -> bytes:
        try:
            return self._files.read(image.file, start, size)
        except BeingFetched:
            raise
        except StorageUnavailable as exc:
            if self.unreadable % 1000 == 0:
                log.error("image_unreadable", detail=str(exc), so_far=self.unreadable)
            self.unreadable += 1
            raise FetchRefused(MessageRejectedReason.STORAGE_FAILED, "the server cannot read the image") from exc

    def _note(self, device: Device, image: Image, number: int, size: int, end: int, cause: int) -> bool:
        """Record a served block; return whether it caused an event."""
        firmware = device.firmware
        before, message = percent(firmware, image), self._news(device, image, number)
        if message and (not number or is_complete(firmware, image)):
            firmware.download_end = 0
        if message and (not number or firmware.download_image_id != image.id):
            self._tell_requested(device, image, cause)
        is_other = firmware.state == FirmwareState.DOWNLOADING and number != firmware.download_block
        if is_other or number != firmware.download_block or size != firmware.download_block_size:
            self._states.block_arrived(device)
        elif firmware.state == FirmwareState.DOWNLOADING and firmware.download_image_id == image.id:
            repeats = self._states.block_repeated(device)
            if repeats == _MANY_REPEATS and self._states.now_ms - firmware.download_ms < _SOON_MS:
                told = f"is at block {number}: {not_arriving(firmware, repeats)}"
                self._states.enter(
                    device,
                    FirmwareState.DOWNLOADING,
                    image,
                    told,
                    cause=cause,
                    repeat=True,
                    progress=True,
                    repeated=True,
                )
        if message or is_other:  # a device that asks for the same block for ever has stopped, too
            self._states.progressed(device)
        firmware.download_image_id = image.id
        firmware.download_length = image.length
        firmware.download_block, firmware.download_block_size = number, size
        firmware.download_end = max(firmware.download_end, end)
        self.blocks += 1
        if message:
            self._tell(device, FirmwareState.DOWNLOADING, image, message, cause)
        if firmware.state != FirmwareState.DOWNLOADING:
            return False
        if is_complete(firmware, image):
            self._tell(device, FirmwareState.UPDATING, image, "was served to its end", cause)
            return True
        if message or is_other:
            self._states.block_served(device)
        if not message and percent(firmware, image) // _TOLD_EVERY > before // _TOLD_EVERY:
            message = f"was served up to block {number}"
            self._tell(device, FirmwareState.DOWNLOADING, image, message, cause)
        return bool(message)

    def _news(self, device: Device, image: Image, number: int) -> str:
        """Describe a block unless it is the next one, or a repeated one."""
        firmware = device.firmware
        if firmware.download_image_id != image.id:
            return f"began with block {number}"
        at = f"was at block {firmware.download_block} ({percent(firmware, image)} %)"
        if number:
            # A retransmitted block of a complete download.
            is_late = firmware.state in SETTLED and is_complete(firmware, image)
            is_news = firmware.state not in UNDER_WAY and not is_late
            return f"goes on with block {number}, {at}" if is_news else ""
        if firmware.state in UNDER_WAY and firmware.download_block <= 1:
            return ""  # the first block again, perhaps in another size; or the last one of a download from the end
        is_again = firmware.state == FirmwareState.DOWNLOADING
        return f"began again with block 0, {at}" if is_again else "began with block 0"

    def _tell_requested(self, device: Device, image: Image, cause: int) -> None:
        self._bus.publish(
            FirmwareRequested(
                origin=device.origin,
                correlation_id=cause,
                image_id=SpanId(image.id),
                version=image.version,
                size=image.length,
            )
        )

    def _tell(self, device: Device, state: FirmwareState, image: Image, message: str, cause: int) -> None:
        self._states.enter(device, state, image, message, cause=cause, repeat=True, progress=True)
