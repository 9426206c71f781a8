"""Uploads of blobs: the received part of each, and the room that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from span_events.clock import Clock
from span_events.config import BlobsConfig
from span_events.errors import StorageUnavailable
from span_events.events.marks import Mark
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.blobs.media_types import LOOKED_AT
from span_events.log import get_logger
from span_events.net import Remote
from span_events.registry.directory import Directory
from span_events.registry.files.base import Incoming
from span_events.registry.model import Blob, Device

log = get_logger("blobs")


class UploadRefused(Exception):
    """
    An upload is refused or ended; the catcher publishes it with `Blobs.refused`.

    Args:
        detail: The received value and the limit.
        limit: The exceeded limit, if any.
        at: Octet where parsing stopped.
        expected: Number of the expected block.
        received: Number of the block that came.
        mark: Protocol that the octets look like.
    """

    def __init__(
        self,
        reason: MessageRejectedReason,
        detail: str,
        *,
        limit: int | None = None,
        at: int | None = None,
        expected: int | None = None,
        received: int | None = None,
        mark: Mark | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.limit = limit
        self.at = at
        self.expected = expected
        self.received = received
        self.mark = mark


class Upload:
    """
    A blob that comes in; `Blobs.begin` makes it.

    Args:
        pause: Seconds that it may pause; None if somebody else sees to that.
    """

    def __init__(
        self,
        blob_id: int,
        device: Device,
        remote: Remote,
        transport: Transport,
        *,
        pause: float | None,
        room: Room,
        clock: Clock,
    ) -> None:
        self.blob_id = blob_id
        self.device = device
        self.remote = remote
        self.transport = transport
        self.pause = pause
        self.incoming: Incoming | None = None
        """The file that it goes to; None when nothing more is taken: it was dropped, or is being finished."""
        self.size = 0
        """Octets so far."""
        self.first = b""
        """The first of them, which tell what it is."""
        self.reserved = 0
        """Octets for which room is set aside."""
        self._room = room
        self._clock = clock
        self._last_at = clock.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether it takes more."""
        return self.incoming is not None

    def paused_too_long(self, now: float) -> bool:
        """Tell whether nothing came for longer than `pause`."""
        return self.is_open and self.pause is not None and now - self._last_at > self.pause

    async def write(self, octets: bytes) -> None:
        """
        Append octets, in a thread.

        Raises:
            UploadRefused: The upload is too large, or the octets cannot be stored.
        """
        incoming = self._next(octets)
        with translated():
            await incoming.write(octets)

    def append(self, block: bytes) -> None:
        """
        Append a block, in place.

        Args:
            block: A few KiB; the event loop waits for it.

        Raises:
            UploadRefused: The upload is too large, or the block cannot be stored.
        """
        incoming = self._next(block)
        with translated():
            incoming.append(block)

    def _next(self, octets: bytes) -> Incoming:
        assert self.incoming is not None, "the upload is over"
        self._room.reserve(self, self.size + len(octets))
        if len(self.first) < LOOKED_AT:
            self.first += octets[: LOOKED_AT - len(self.first)]
        self.size += len(octets)
        self._last_at = self._clock.monotonic()
        return self.incoming


class Room:
    """
    How much may be stored, and how much is; what is still coming counts like what is there.

    Args:
        directory: Knows the blobs that there are already.
    """

    def __init__(self, config: BlobsConfig, directory: Directory) -> None:
        self._config = config
        self._blobs = directory.blobs
        self._octets = Counter(
            {each: sum(blob.size for blob in directory.blobs.of(each)) for each in directory.collections}
        )
        self.uploads: set[Upload] = set()
        """Uploads under way."""

    @property
    def octets(self) -> int:
        """Octets of all blobs."""
        return self._octets.total()

    def check_another(self, device: Device) -> None:
        """
        Make sure that one more upload of a device may begin.

        Raises:
            UploadRefused: Too many are under way, or its collection has too many blobs.
        """
        config, collection_id = self._config, device.collection.id
        of_device = sum(each.device is device for each in self.uploads)
        for name, limit, count in (
            ("uploads", config.uploads, len(self.uploads)),
            ("uploads_per_device", config.uploads_per_device, of_device),
        ):
            if count >= limit:
                raise UploadRefused(MessageRejectedReason.SERVER_BUSY, f"blobs.{name} is {limit}", limit=limit)
        coming = sum(each.device.collection.id == collection_id for each in self.uploads)
        if self._blobs.count(collection_id) + coming >= config.per_collection:
            raise _full("per_collection", config.per_collection)

    def reserve(self, upload: Upload, octets: int) -> None:
        """
        Set room aside for an upload, as much as it is known to need.

        Args:
            octets: Of the whole.

        Raises:
            UploadRefused: The upload is too large, or there is no room for it.
        """
        config = self._config
        if octets > config.max_size:
            detail = f"{octets} octets, at most {config.max_size} (blobs.max_size)"
            raise UploadRefused(MessageRejectedReason.TOO_LARGE, detail, limit=config.max_size)
        more = octets - upload.reserved
        if more <= 0:
            return
        collection_id = upload.device.collection.id
        coming = sum(each.reserved for each in self.uploads if each.device.collection.id == collection_id)
        if self._octets[collection_id] + coming + more > config.octets_per_collection:
            raise _full("octets_per_collection", config.octets_per_collection)
        if self.octets + sum(each.reserved for each in self.uploads) + more > config.total_octets:
            raise _full("total_octets", config.total_octets)
        upload.reserved = octets

    def stored(self, upload: Upload, blob: Blob) -> None:
        """An upload has become a blob."""
        self._octets[blob.collection_id] += blob.size
        self.uploads.discard(upload)

    def removed(self, blob: Blob) -> None:
        """A blob is gone."""
        self._octets[blob.collection_id] -= blob.size


def _full(name: str, limit: int) -> UploadRefused:
    return UploadRefused(MessageRejectedReason.STORAGE_FULL, f"blobs.{name} is {limit}", limit=limit)


@contextmanager
def translated() -> Iterator[None]:
    """Refuse an upload that cannot be stored; the log says why, the sender need not know our disk."""
    try:
        yield
    except StorageUnavailable as exc:
        log.error("blob_not_stored", detail=str(exc))
        raise UploadRefused(MessageRejectedReason.STORAGE_FAILED, "the server cannot store it now") from exc
