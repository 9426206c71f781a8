"""Firmware over CoAP: POST /u accepts a report, GET /fw returns the image in blocks (RFC 7959)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Hashable
from typing import Final

from aiocoap.numbers import ContentFormat

from span_events.config import FirmwareConfig
from span_events.errors import MalformedMessage, StorageUnavailable
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.firmware.downloads import FetchRefused
from span_events.fleet.firmware.reports import Firmware
from span_events.listeners.coap.answer import Answer, Later
from span_events.listeners.coap.peer import Peer
from span_events.net import Remote
from span_events.registry.files.base import BeingFetched
from span_events.wire.coap.blocks import MAX_BLOCK_EXPONENT, Block, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, uint
from span_events.wire.coap.requests import name_of_method
from span_events.wire.fota import MAX_HOST, Response, decode_report, encode_response

REPORT_PATH: Final = "/u"

_REFUSALS: Final = {
    MessageRejectedReason.NO_FIRMWARE: Code.NOT_FOUND,
    MessageRejectedReason.MALFORMED: Code.BAD_REQUEST,
    MessageRejectedReason.IMAGE_CHANGED: Code.REQUEST_ENTITY_INCOMPLETE,
    MessageRejectedReason.STORAGE_FAILED: Code.SERVICE_UNAVAILABLE,
}
_FETCH: Final = 20.0
"""Seconds that the first request for an image waits for the object store; the client has an ACK by then."""
_RETRY_AFTER: Final = ((int(Option.MAX_AGE), uint(5)),)
"""Max-Age: seconds until a device may try again (RFC 7252 §5.9.3.4)."""


class CoapFirmware:
    """
    The firmware service of one endpoint.

    It keeps no state of a download: the device's identity selects the image, the request selects the block.

    Args:
        bound: Address of the endpoint. Devices get it as the place of the download unless the configuration has one.
    """

    def __init__(
        self, config: FirmwareConfig, transport: Transport, bound: Remote, *, firmware: Firmware, reception: Reception
    ) -> None:
        self._config = config
        self._transport = transport
        self._firmware = firmware
        self._reception = reception
        secure = transport is Transport.COAPS
        self._host = config.coaps_host if secure else config.coap_host
        self._port = (config.coaps_port if secure else config.coap_port) or bound[1]
        self._bound = bound
        self._first = Block(0, more=False, exponent=config.block_size.bit_length() - 5)
        self.paths = frozenset({REPORT_PATH, config.path})

    def is_repeatable(self, request: CoapMessage, path: str) -> bool:
        """
        Return whether a request asks for a block, the first included: each block is read anew from the target image.

        With an answer from memory, a device that reboots could get block 0 of an earlier image and then newer blocks.
        """
        return path != REPORT_PATH and request.code == Code.GET

    def answer(self, peer: Peer, path: str) -> Answer | Later:
        """Answer a request."""
        wanted = Code.POST if path == REPORT_PATH else Code.GET
        if peer.request.code != wanted:
            seen = name_of_method(peer.request.code)
            detail = f"{seen} {path}, wanted {wanted.name}"
            self._reject(peer, MessageRejectedReason.METHOD_NOT_ALLOWED, detail)
            return Answer(Code.METHOD_NOT_ALLOWED, f"{seen} is not served here; use {wanted.name}".encode())
        return self._report(peer) if path == REPORT_PATH else self._fetch(peer)

    def forget_peer(self, address: Hashable) -> None:
        """Do nothing: no state is kept of an address."""

    def _report(self, peer: Peer) -> Answer:
        block = peer.options.block1
        if block is not None and (block.number or block.more):
            return self._malformed(peer, "a report must come whole, in one message")
        try:
            report = decode_report(peer.request.payload)
        except MalformedMessage as exc:
            return self._malformed(peer, exc.detail, exc.at)
        host, unreachable = self._place(peer.remote)
        available = self._firmware.report(
            peer.device,
            report,
            remote=peer.remote,
            transport=self._transport,
            session=peer.session,
            unreachable=unreachable,
        )
        return Answer(Code.CHANGED, encode_response(Response(host, self._port, self._config.path, available)))

    def _fetch(self, peer: Peer) -> Answer | Later:
        if peer.options.accept not in (None, ContentFormat.OCTETSTREAM):
            detail = f"images have content format {int(ContentFormat.OCTETSTREAM)} (application/octet-stream)"
            self._reject(peer, MessageRejectedReason.NOT_ACCEPTABLE, detail)
            return Answer(Code.NOT_ACCEPTABLE, detail.encode())
        wanted = peer.options.block2 or self._first
        if wanted.exponent > MAX_BLOCK_EXPONENT:
            return self._malformed(peer, "block size exponent is 7, wanted 0 to 6")
        try:
            return self._block(peer, wanted)
        except BeingFetched as exc:
            return Later(self._block_later(peer, wanted, exc.fetch))

    async def _block_later(self, peer: Peer, wanted: Block, fetch: asyncio.Future[None]) -> Answer:
        """Answer when the image is here; after a second, that is a separate response (RFC 7252 §5.2.2)."""
        try:
            async with asyncio.timeout(_FETCH):
                await asyncio.shield(fetch)
        except (StorageUnavailable, TimeoutError):
            pass  # the block tells
        try:
            return self._block(peer, wanted)
        except BeingFetched as exc:
            self._reject(peer, MessageRejectedReason.STORAGE_FAILED, str(exc))
            return Answer(Code.SERVICE_UNAVAILABLE, str(exc).encode(), _RETRY_AFTER)

    def _block(self, peer: Peer, wanted: Block) -> Answer:
        try:
            chunk = self._firmware.downloads.fetch(
                peer.device,
                wanted.number,
                wanted.size,
                remote=peer.remote,
                transport=self._transport,
                session=peer.session,
            )
        except FetchRefused as exc:
            code = _REFUSALS[exc.reason]
            return Answer(code, str(exc).encode(), _RETRY_AFTER if code is Code.SERVICE_UNAVAILABLE else ())
        block = Block(wanted.number, chunk.more, wanted.exponent)
        options: Options = (
            (Option.ETAG, bytes.fromhex(chunk.image.sha256[:16])),
            (Option.BLOCK2, write_block(block)),
            (Option.SIZE2, uint(chunk.image.length)),  # clients compute their progress from the Size2 of each block
        )
        return Answer(Code.CONTENT, chunk.octets, options)

    def _place(self, remote: Remote) -> tuple[str, str]:
        """Return the host of the download for a device, and the reason if there is none."""
        host = self._host or _address_toward(remote, self._bound[0])
        if not host:
            return "", "the address that the device reached is not known: set its host in the table [firmware]"
        if len(host) > MAX_HOST:
            return "", f"devices have room for {MAX_HOST} characters, not for {host}: set its host in [firmware]"
        return host, ""

    def _malformed(self, peer: Peer, detail: str, at: int | None = None) -> Answer:
        self._reject(peer, MessageRejectedReason.MALFORMED, detail, at)
        return Answer(Code.BAD_REQUEST, detail.encode())

    def _reject(self, peer: Peer, reason: MessageRejectedReason, detail: str, at: int | None = None) -> None:
        self._reception.rejections.rejected(
            reason, device=peer.device, remote=peer.remote, transport=self._transport, detail=detail, at=at
        )


def _address_toward(remote: Remote, bound: str) -> str:
    """Return the server's address as seen by a device: the bound one, or the source address of the route to it."""
    if not ipaddress.ip_address(bound).is_unspecified:
        return bound
    family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(remote)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return ""
