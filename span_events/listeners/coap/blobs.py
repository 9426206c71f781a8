"""
Blobs over CoAP: POST or PUT to ``/blob``, in blocks (RFC 7959), straight to the disk.

The source address identifies the blocks of one blob, never the token: clients take a new token for each block
(RFC 7959 §3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from aiocoap.numbers import ContentFormat

from span_events.clock import Clock
from span_events.config import BlobsConfig, CoapConfig
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.blobs.blobs import Blobs
from span_events.fleet.blobs.uploads import Upload, UploadRefused
from span_events.fleet.devices.inbound import Reception
from span_events.listeners.coap.answer import Answer, Later
from span_events.listeners.coap.peer import Peer
from span_events.listeners.coap.transfers import Key, Transfers, fault_of
from span_events.net import render_remote
from span_events.wire.coap.blocks import Block, read_block, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, option_of, uint
from span_events.wire.coap.requests import name_of_method

PATH: Final = "/blob"
_DONE: Final = {Code.POST: Code.CREATED, Code.PUT: Code.CHANGED}
"""Response code for a stored blob, by method."""
_CODES: Final = {
    MessageRejectedReason.MALFORMED: Code.BAD_REQUEST,
    MessageRejectedReason.METHOD_NOT_ALLOWED: Code.METHOD_NOT_ALLOWED,
    MessageRejectedReason.BLOCK_MISSING: Code.REQUEST_ENTITY_INCOMPLETE,
    MessageRejectedReason.TOO_LARGE: Code.REQUEST_ENTITY_TOO_LARGE,
    MessageRejectedReason.SERVER_BUSY: Code.SERVICE_UNAVAILABLE,
    MessageRejectedReason.STORAGE_FAILED: Code.SERVICE_UNAVAILABLE,
    MessageRejectedReason.STORAGE_FULL: Code.SERVICE_UNAVAILABLE,
}
"""Response codes of rejections; all other reasons are 4.03."""
_RETRY_AFTER: Final = ((int(Option.MAX_AGE), uint(10)),)
"""Max-Age: seconds until a device may try again (RFC 7252 §5.9.3.4)."""
_MEDIA_TYPES: Final[dict[int, str]] = {
    number: ContentFormat(number).media_type for number in (0, 21, 22, 23, 41, 50, 60, 110, 112)
}
"""Media types of the content formats that name one (IANA "CoAP Content-Formats")."""


@dataclass(slots=True)
class _Transfer:
    """A block-wise upload of one blob, under way or complete."""

    upload: Upload
    last_start: int | None = None
    """Offset of the last block in octets; None until it has arrived."""
    answer: Answer = field(default_factory=lambda: Answer(Code.INTERNAL_SERVER_ERROR))
    """Answer to the last block; valid once `known` is set."""
    known: asyncio.Event = field(default_factory=asyncio.Event)


class CoapBlobs:
    """
    The service at ``/blob`` of one endpoint.

    Args:
        transport: Transport of the endpoint, for events.
    """

    paths = frozenset({PATH})

    def __init__(
        self,
        config: BlobsConfig,
        coap: CoapConfig,
        *,
        transport: Transport,
        blobs: Blobs,
        reception: Reception,
        clock: Clock,
    ) -> None:
        self._limit = config.max_size
        self._pause = coap.upload_timeout
        self._transport = transport
        self._blobs = blobs
        self._reception = reception
        self._clock = clock
        self._transfers: Transfers[_Transfer] = Transfers(limit=coap.unfinished_uploads, lifetime=coap.upload_timeout)

    def is_repeatable(self, request: CoapMessage, _path: str) -> bool:
        """Return whether a request is a block that may be served twice: neither the first nor the last."""
        block = _block(request)
        return block is not None and block.number > 0 and block.more

    def answer(self, peer: Peer, _path: str) -> Answer | Later:
        """Accept a whole blob, or one block of a blob."""
        try:
            return self._take(peer)
        except UploadRefused as exc:
            return self._refuse(peer, exc)

    def forget_peer(self, address: Hashable) -> None:
        """Drop the unfinished upload of an address that will never send again."""
        for upload in (each.upload for each in self._transfers.forget_peer(address)):
            if not upload.is_open:
                continue
            self._blobs.drop(upload)
            detail = f"the session ended after {upload.size} octets"
            refusal = UploadRefused(MessageRejectedReason.INCOMPLETE, detail)
            self._blobs.refused(refusal, device=upload.device, remote=upload.remote, transport=self._transport)

    def _take(self, peer: Peer) -> Answer | Later:
        request = peer.request
        if request.code not in _DONE:
            detail = f"{name_of_method(request.code)}, wanted POST or PUT"
            raise UploadRefused(MessageRejectedReason.METHOD_NOT_ALLOWED, detail)
        block = peer.options.block1
        if block is None:
            upload = self._begin(peer, len(request.payload))
            self._append(upload, request.payload)
            return Later(self._finish(peer, _Transfer(upload)))
        fault = fault_of(block, request.payload)
        if fault is not None:
            raise UploadRefused(MessageRejectedReason.MALFORMED, fault)
        return self._take_block(peer, block)

    def _take_block(self, peer: Peer, block: Block) -> Answer | Later:
        payload, now = peer.request.payload, self._clock.monotonic()
        start = block.number * block.size
        if start == 0:
            return self._take_first(peer, block, now)
        transfer = self._transfers.get(_key(peer), now)
        if transfer is not None and start == transfer.last_start and not block.more:
            return Later(_repeat(transfer))
        if transfer is None or not transfer.upload.is_open:
            detail = "no upload is under way here; begin with block 0"
            raise UploadRefused(MessageRejectedReason.BLOCK_MISSING, detail, expected=0, received=block.number)
        size = transfer.upload.size
        if start != size and not (block.more and start + len(payload) <= size):
            expected = size // block.size
            detail = f"block {expected} was expected, {block.number} came"
            raise UploadRefused(MessageRejectedReason.BLOCK_MISSING, detail, expected=expected, received=block.number)
        if start == size:
            self._append(transfer.upload, payload)
        self._reception.refund(peer.device)
        self._transfers.put(_key(peer), transfer, now)
        return self._go_on(peer, block, transfer)

    def _take_first(self, peer: Peer, block: Block, now: float) -> Answer | Later:
        """Start a new upload: a client that sends block 0 again has given up its earlier upload."""
        payload = peer.request.payload
        earlier = self._transfers.get(_key(peer), now)
        if earlier is not None:
            self._blobs.drop(earlier.upload)
        announced = int.from_bytes(option_of(peer.request, Option.SIZE1) or b"", "big")
        transfer = _Transfer(self._begin(peer, max(announced, len(payload))))
        self._append(transfer.upload, payload)
        self._transfers.put(_key(peer), transfer, now)
        return self._go_on(peer, block, transfer)

    def _go_on(self, peer: Peer, block: Block, transfer: _Transfer) -> Answer | Later:
        if block.more:
            return Answer(Code.CONTINUE, options=_echo(block))
        transfer.last_start = block.number * block.size
        return Later(self._finish(peer, transfer, _echo(block)))

    def _begin(self, peer: Peer, size: int) -> Upload:
        upload = self._blobs.begin(
            peer.device, size=size, remote=peer.remote, transport=self._transport, pause=self._pause
        )
        self._reception.sessions.contacted(peer.device, peer.remote, transport=self._transport, session=peer.session)
        return upload

    def _append(self, upload: Upload, payload: bytes) -> None:
        try:
            upload.append(payload)
        except UploadRefused:
            self._blobs.drop(upload)
            raise

    async def _finish(self, peer: Peer, transfer: _Transfer, options: Options = ()) -> Answer:
        request = peer.request
        form = int.from_bytes(option_of(request, Option.CONTENT_FORMAT) or b"\xff\xff", "big")
        method = Code(request.code)
        try:
            await self._blobs.finish(
                transfer.upload,
                properties={"address": render_remote(peer.remote), "method": method.name, "path": PATH},
                declared=_MEDIA_TYPES.get(form, ""),
            )
            transfer.answer = Answer(_DONE[method], options=options)
        except UploadRefused as exc:
            transfer.answer = self._refuse(peer, exc)
        finally:
            transfer.known.set()
        return transfer.answer

    def _refuse(self, peer: Peer, refusal: UploadRefused) -> Answer:
        announced = option_of(peer.request, Option.SIZE1)
        self._blobs.refused(
            refusal,
            device=peer.device,
            remote=peer.remote,
            transport=self._transport,
            size=None if announced is None else int.from_bytes(announced, "big"),
        )
        code = _CODES.get(refusal.reason, Code.FORBIDDEN)
        options: Options = ()
        block = peer.options.block1
        if code is Code.REQUEST_ENTITY_INCOMPLETE and block is not None:
            options = _echo(block)
        elif code is Code.REQUEST_ENTITY_TOO_LARGE:
            options = ((Option.SIZE1, uint(self._limit)),)
        elif code is Code.SERVICE_UNAVAILABLE:
            options = _RETRY_AFTER
        return Answer(code, refusal.detail.encode(), options)


async def _repeat(transfer: _Transfer) -> Answer:
    """Answer a repeated last block like the first copy."""
    await transfer.known.wait()
    return transfer.answer


def _key(peer: Peer) -> Key:
    return peer.address, (peer.device.id, PATH)


def _block(request: CoapMessage) -> Block | None:
    value = option_of(request, Option.BLOCK1)
    return None if value is None else read_block(value)


def _echo(block: Block) -> Options:
    return ((Option.BLOCK1, write_block(block)),)
