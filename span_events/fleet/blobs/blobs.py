"""
Blobs: large uploads of devices, over HTTP or block by block over CoAP.

The octets are in a file before their row is in the registry, and until that row is gone. Room is reserved when an
upload begins, so that concurrent uploads together stay within the limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import BlobsConfig
from span_events.errors import StorageUnavailable
from span_events.events.activity import SpanId
from span_events.events.catalogue import BlobUpload
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.blobs.media_types import media_type
from span_events.fleet.blobs.uploads import Room, Upload, UploadRefused, translated
from span_events.fleet.devices.inbound import Reception
from span_events.ids import render
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.net import Remote
from span_events.registry.directory import built_in
from span_events.registry.files.base import Files, Incoming
from span_events.registry.model import Blob, Device
from span_events.registry.registry import Registry

log = get_logger("blobs")


class Blobs:
    """
    The blobs of all collections.

    Args:
        files: Files of the blobs.
        directory: Directory with the existing blobs.
    """

    def __init__(
        self,
        config: BlobsConfig,
        *,
        reception: Reception,
        bus: Bus,
        files: Files,
        registry: Registry,
        clock: Clock,
    ) -> None:
        self._reception = reception
        self._bus = bus
        self._files = files
        self._registry = registry
        self._directory = registry.directory
        self._clock = clock
        self._room = Room(config, registry.directory)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.finished = 0
        """Uploads that became blobs."""

    # ---- uploads ------------------------------------------------------------------------------

    def begin(
        self, device: Device, *, size: int, remote: Remote, transport: Transport, pause: float | None = None
    ) -> Upload:
        """
        Begin an upload of an admitted device.

        Args:
            size: Octets of the whole, if known.
            pause: Limit of a pause in seconds, if `sweep` enforces it.

        Raises:
            UploadRefused: The upload is too large, no room is left, or too many are under way.
        """
        self._room.check_another(device)
        blob_id = self._bus.new_id()
        upload = Upload(blob_id, device, remote, transport, pause=pause, room=self._room, clock=self._clock)
        self._room.reserve(upload, size)
        with translated():
            upload.incoming = self._files.begin(blob_id)
        self._room.uploads.add(upload)
        device.traffic.uploads += 1
        return upload

    @contextmanager
    def upload(self, device: Device, *, size: int, remote: Remote, transport: Transport) -> Iterator[Upload]:
        """Begin an upload, and discard it at the end unless it was finished; see `begin`."""
        upload = self.begin(device, size=size, remote=remote, transport=transport)
        try:
            yield upload
        finally:
            self.drop(upload)

    async def finish(
        self, upload: Upload, *, properties: Mapping[str, str], declared: str, note: str | None = None
    ) -> Blob:
        """
        Store an upload as a blob. Cancelling does not stop it.

        Args:
            properties: Properties of the upload: address, method, path.
            declared: Media type declared by the sender.
            note: Words for people about the form of the upload, for the event.

        Raises:
            UploadRefused: The blob cannot be stored, or the device is not admitted any more.
        """
        incoming, upload.incoming = upload.incoming, None
        assert incoming is not None, "the upload is over"
        return await asyncio.shield(self._spawn(self._finish(upload, incoming, properties, declared, note)))

    def drop(self, upload: Upload) -> None:
        """Discard an upload unless it is being finished; idempotent."""
        incoming, upload.incoming = upload.incoming, None
        if incoming is not None:
            self._room.uploads.discard(upload)
            self._spawn(incoming.discard())

    def refused(
        self,
        refusal: UploadRefused,
        *,
        device: Device | None,
        remote: Remote,
        transport: Transport,
        size: int | None = None,
    ) -> None:
        """
        Publish the rejection of a blob.

        Args:
            device: Owner of the blob; None if unknown.
            size: Octets of the whole, if they are known.
        """
        self._reception.rejections.rejected(
            refusal.reason,
            device=device,
            remote=remote,
            transport=transport,
            size=size,
            detail=refusal.detail,
            at=refusal.at,
            expected=refusal.expected,
            received=refusal.received,
            limit=refusal.limit,
            mark=refusal.mark,
        )

    # ---- from the API, and timers ------------------------------------------------------------

    async def remove(self, blob: Blob) -> None:
        """
        Remove a blob and its file.

        Raises:
            NotFound: The blob was removed already.
        """
        self._directory.blobs.find(blob.collection_id, blob.id)
        async with self._files.deleting(blob.id), self._registry.lock:  # the lock waits for no object store
            self._directory.blobs.find(blob.collection_id, blob.id)
            await self._registry.store.delete_blob(blob.id)
            self._directory.blobs.remove(blob)
            self._room.removed(blob)
        await self._delete_file(blob.id)

    async def file(self, blob: Blob) -> Path:
        """
        Return the file of a blob on this machine; it may be a copy that is fetched first.

        Raises:
            StorageUnavailable: The file is missing, or not whole.
        """
        return await self._files.whole(blob.file)

    def sweep(self) -> None:
        """Once a second or so: end the uploads that pause for too long."""
        now = self._clock.monotonic()
        for upload in [each for each in self._room.uploads if each.paused_too_long(now)]:
            detail = f"nothing came for {upload.pause:g} s after {upload.size} octets (coap.upload_timeout)"
            refusal = UploadRefused(MessageRejectedReason.TOO_SLOW, detail)
            self.refused(refusal, device=upload.device, remote=upload.remote, transport=upload.transport)
            self.drop(upload)

    async def close(self) -> None:
        """Discard the uploads under way, and wait for those being stored."""
        for upload in list(self._room.uploads):
            self.drop(upload)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        blobs, room = self._directory.blobs, self._room
        return [
            Metric("blobs", "Blobs; at most blobs.per_collection each.", "gauge", lambda: len(blobs)),
            Metric("blob_bytes", "Bytes of all blobs; at most blobs.total_octets.", "gauge", lambda: room.octets),
            Metric("blob_uploads", "Uploads under way; at most blobs.uploads.", "gauge", lambda: len(room.uploads)),
            Metric("blob_uploads_finished", "Uploads that became blobs.", "counter", lambda: self.finished),
        ]

    # ---- parts --------------------------------------------------------------------------------

    async def _finish(
        self, upload: Upload, incoming: Incoming, properties: Mapping[str, str], declared: str, note: str | None
    ) -> Blob:
        try:
            async with incoming:
                with translated():
                    await incoming.keep()
            blob = await self._register(upload, incoming, properties, declared)
        finally:
            self._room.uploads.discard(upload)
        self.finished += 1
        self._bus.publish(
            BlobUpload(
                origin=upload.device.origin,
                correlation_id=blob.id,
                blob_id=SpanId(blob.id),
                size=blob.size,
                content_type=blob.content_type,
                path=properties.get("path"),
                detail=note,
            )
        )
        return blob

    async def _register(self, upload: Upload, incoming: Incoming, properties: Mapping[str, str], declared: str) -> Blob:
        device = upload.device
        try:
            async with self._registry.lock:
                self._check_may_send(device)
                blob = Blob(
                    upload.blob_id,
                    device.collection.id,
                    device.id,
                    built_in(upload.transport),
                    media_type(upload.first, declared),
                    upload.size,
                    self._clock.time_ns(),
                    dict(properties),
                )
                with translated():
                    await self._registry.store.put_blob(blob)
                    incoming.name()
                self._directory.blobs.put(blob)
                self._room.stored(upload, blob)
        except BaseException:
            await self._delete_file(upload.blob_id)
            raise
        return blob

    def _check_may_send(self, device: Device) -> None:
        """Ask again at the end: an upload may take an hour."""
        if self._directory.devices.get(device.id) is not device:
            raise UploadRefused(MessageRejectedReason.DEVICE_REMOVED, "the device was removed meanwhile")
        if not device.enabled:
            raise UploadRefused(MessageRejectedReason.DEVICE_DISABLED, "the device was disabled meanwhile")
        if not device.collection.enabled:
            raise UploadRefused(MessageRejectedReason.COLLECTION_DISABLED, "its collection was disabled meanwhile")

    async def _delete_file(self, blob_id: int) -> None:
        try:
            await self._files.delete(blob_id)
        except StorageUnavailable as exc:
            log.error("blob_file_left", blob=render(blob_id), detail=str(exc))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a waiting caller gets the exception; without one, it is no defect
