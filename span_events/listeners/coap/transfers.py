"""
Block-wise transfers of messages (RFC 7959): uploads being assembled, downloads being fetched.

Both are kept per remote and path, never per token: clients take a new token for each block
(RFC 7959 §3). Count and size are bounded.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from span_events.bounded.expiring import ExpiringMapOfPeers
from span_events.listeners.coap.answer import Answer
from span_events.wire.coap.blocks import MAX_BLOCK_EXPONENT, Block

Purpose = tuple[int, str]
"""Device id and path of a transfer. The id is needed because an address may pass to another device."""
Key = tuple[Hashable, Purpose]
"""Remote and path."""
PER_DEVICE: Final = 8
"""Transfers of one device at the same time, from all its ports: a device that begins more ends its own oldest."""
V = TypeVar("V")


class Transfers(ExpiringMapOfPeers[Hashable, Purpose, V], Generic[V]):
    """Transfers of one kind; `PER_DEVICE` keeps a device from evicting those of others."""

    def __init__(self, *, limit: int, lifetime: float) -> None:
        super().__init__(limit=limit, lifetime=lifetime)
        self._of_device: dict[int, dict[Key, None]] = {}  # the oldest first

    def put(self, key: Key, value: V, now: float) -> None:
        """Insert or replace a transfer, and end the oldest of its device beyond the bound."""
        super().put(key, value, now)
        own = self._of_device.setdefault(key[1][0], {})
        own.pop(key, None)
        own[key] = None
        if len(own) > PER_DEVICE:
            self.forget(next(iter(own)))

    def _dropped(self, key: Key) -> None:
        super()._dropped(key)
        device = key[1][0]
        own = self._of_device[device]
        del own[key]
        if not own:
            del self._of_device[device]


class Step(Enum):
    """Effect of a block on its upload."""

    CONTINUE = auto()
    """The block was accepted, now or earlier; the next block may follow."""
    COMPLETE = auto()
    """The block was the last one; the upload is complete."""
    REPEATED = auto()
    """The block repeats the last block of a complete upload."""
    MISSING = auto()
    """An earlier block is missing."""
    TOO_LARGE = auto()
    """The upload exceeds the size limit with this block."""


@dataclass(slots=True)
class BlockUpload:
    """A message that arrives in blocks; ``answer`` is set once the complete message was answered."""

    octets: bytearray = field(default_factory=bytearray)
    last_start: int = 0
    answer: Answer | None = None


class BlockUploads:
    """
    Unfinished uploads, and the last block of each complete upload.

    Args:
        limit: Upper bound of uploads of all devices; beyond it, the upload with the longest pause is dropped.
        timeout: Longest pause of an upload in seconds.
        max_payload: Upper bound of a message in octets.
    """

    def __init__(self, *, limit: int, timeout: float, max_payload: int) -> None:
        self._unfinished: Transfers[BlockUpload] = Transfers(limit=limit, lifetime=timeout)
        self._finished: Transfers[BlockUpload] = Transfers(limit=limit, lifetime=timeout)
        self._max_payload = max_payload

    def __len__(self) -> int:
        return len(self._unfinished)

    def take(self, key: Key, block: Block, payload: bytes, announced: int, now: float) -> tuple[Step, BlockUpload]:
        """
        Add a block to its upload; block 0 always begins a new upload.

        Args:
            announced: Size of the whole message from the option Size1; 0 without the option.
        """
        start = block.number * block.size
        if start == 0:
            upload = BlockUpload()
            self._finished.forget(key)
        else:
            finished = self._finished.get(key, now)
            if finished and not block.more and start == finished.last_start and payload == finished.octets:
                return Step.REPEATED, finished
            upload = self._unfinished.get(key, now) or BlockUpload()
        octets = upload.octets
        if start != len(octets):
            repeated = block.more and start + len(payload) <= len(octets) and octets.startswith(payload, start)
            return Step.CONTINUE if repeated else Step.MISSING, upload
        if max(announced, start + len(payload)) > self._max_payload:
            self._unfinished.forget(key)
            return Step.TOO_LARGE, upload
        octets += payload
        if block.more:
            self._unfinished.put(key, upload, now)
            return Step.CONTINUE, upload
        self._unfinished.forget(key)
        upload.last_start = start
        return Step.COMPLETE, upload

    def finish(self, key: Key, upload: BlockUpload, answer: Answer, now: float) -> None:
        """Remember the answer to a complete upload, because the client may repeat its last block."""
        if upload.last_start:
            upload.answer = answer
            del upload.octets[: upload.last_start]
            self._finished.put(key, upload, now)

    def forget_peer(self, address: Hashable) -> None:
        """Drop the uploads of an address that will never send again."""
        self._unfinished.forget_peer(address)
        self._finished.forget_peer(address)


@dataclass(slots=True)
class BlockDownload:
    """A payload that a device fetches in blocks."""

    code: int
    payload: bytes
    etag: bytes
    done: bool = False
    """True once the last block was sent."""

    def block(self, wanted: Block) -> tuple[Block, bytes] | None:
        """Return one block and its payload; None for a block beyond the end."""
        start = wanted.number * wanted.size
        end = start + wanted.size
        if start >= len(self.payload):
            return None
        more = end < len(self.payload)
        self.done = self.done or not more
        return Block(wanted.number, more, wanted.exponent), self.payload[start:end]


def fault_of(block: Block, payload: bytes) -> str | None:
    """Return the error in the size of a block of an upload; None for a valid block."""
    if block.exponent > MAX_BLOCK_EXPONENT:
        return f"block size exponent is {block.exponent}, wanted 0 to {MAX_BLOCK_EXPONENT}"
    length = len(payload)
    if length > block.size or (block.more and length < block.size):
        return f"block {block.number} has {length} octets, its option says {block.size}"
    return None


FIRST: Final = Block(0, more=False, exponent=MAX_BLOCK_EXPONENT)
"""Block that a client without a Block2 option gets."""
