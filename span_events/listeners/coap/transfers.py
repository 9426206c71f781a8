"""
Block-wise transfers (RFC 7959): uploads being assembled, downloads being fetched.

Both are kept per remote and path, never per token: clients take a new token for each block
(RFC 7959 §3). The library's own assembly has no bound on count or size, knows nothing of a
repeated block, and answers a gap with 5.00.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from span_events.bounded.expiring import ExpiringMapOfPeers
from span_events.listeners.coap.answer import Answer
from span_events.wire.coap.blocks import MAX_BLOCK_EXPONENT, Block

Purpose = tuple[int, str]
"""Whose transfer it is, and to or from which path: an address may become another device's."""
Key = tuple[Hashable, Purpose]
"""Remote and path."""


class Step(Enum):
    """What a block did to its upload."""

    CONTINUE = auto()
    """It was taken, or had been taken before; the next one may come."""
    COMPLETE = auto()
    """It was the last one."""
    REPEATED = auto()
    """It was the last one of an upload that is complete already."""
    MISSING = auto()
    """It is not the one that was expected."""
    TOO_LARGE = auto()
    """With it, the upload is over the limit."""


@dataclass(slots=True)
class BlockUpload:
    """A message that comes in blocks; ``answer`` is set once it is complete and was answered."""

    octets: bytearray = field(default_factory=bytearray)
    last_start: int = 0
    answer: Answer | None = None


class BlockUploads:
    """
    Uploads under way, and the last block of those that are complete.

    Args:
        limit: Uploads kept at most; the one that has paused longest is dropped first.
        timeout: Seconds that an upload may pause.
        max_payload: Octets of a message at most.
    """

    def __init__(self, *, limit: int, timeout: float, max_payload: int) -> None:
        self._unfinished: ExpiringMapOfPeers[Hashable, Purpose, BlockUpload] = ExpiringMapOfPeers(
            limit=limit, lifetime=timeout
        )
        self._finished: ExpiringMapOfPeers[Hashable, Purpose, BlockUpload] = ExpiringMapOfPeers(
            limit=limit, lifetime=timeout
        )
        self._max_payload = max_payload

    def __len__(self) -> int:
        return len(self._unfinished)

    def take(self, key: Key, block: Block, payload: bytes, announced: int, now: float) -> tuple[Step, BlockUpload]:
        """
        Take a block into the upload that it belongs to; block 0 always begins a new one.

        Args:
            announced: Size of the whole as the client tells it (Size1), 0 if it does not.
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
        """Remember how a complete upload was answered, for its last block may come again."""
        if upload.last_start:
            upload.answer = answer
            del upload.octets[: upload.last_start]
            self._finished.put(key, upload, now)

    def forget_peer(self, address: Hashable) -> None:
        """Drop what an address began that will never send again."""
        self._unfinished.forget_peer(address)
        self._finished.forget_peer(address)


@dataclass(slots=True)
class BlockDownload:
    """A payload that is fetched in blocks."""

    code: int
    payload: bytes
    etag: bytes
    done: bool = False
    """Its last block was given."""

    def block(self, wanted: Block) -> tuple[Block, bytes] | None:
        """Cut a block out; None if it begins beyond the end."""
        start = wanted.number * wanted.size
        end = start + wanted.size
        if start >= len(self.payload):
            return None
        more = end < len(self.payload)
        self.done = self.done or not more
        return Block(wanted.number, more, wanted.exponent), self.payload[start:end]


def fault_of(block: Block, payload: bytes) -> str | None:
    """Say what is wrong with a block of an upload in itself, if anything is."""
    if block.exponent > MAX_BLOCK_EXPONENT:
        return f"block size exponent is {block.exponent}, wanted 0 to {MAX_BLOCK_EXPONENT}"
    length = len(payload)
    if length > block.size or (block.more and length < block.size):
        return f"block {block.number} has {length} octets, its option says {block.size}"
    return None


FIRST: Final = Block(0, more=False, exponent=MAX_BLOCK_EXPONENT)
"""What a client wants that does not say."""
