"""One HTTP connection with one upload: the request, the content at a minimum rate, and the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, Protocol

from span_events.clock import Clock
from span_events.config import BlobsConfig
from span_events.errors import MalformedMessage
from span_events.events.activity import Reason
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.blobs.blobs import Blobs
from span_events.fleet.blobs.uploads import UploadRefused
from span_events.ids import render
from span_events.listeners.blobs.content import Content
from span_events.listeners.ports import Ports
from span_events.listeners.tcp import TcpStream
from span_events.log import get_logger
from span_events.net import Remote, render_remote
from span_events.registry.model import Device
from span_events.wire.http_head import MAX_HEAD, Head, decode, encode_reply, end_of_head
from span_events.wire.recognition import ProtocolName

log = get_logger("listeners.blobs")

_LINGER: Final = 2.0
"""Seconds that a client has to read the reply, and again while it sends content that is discarded."""
_PATH_KEPT: Final = 255
"""Characters of a path that are stored in the registry."""
_STATUS: Final = {
    MessageRejectedReason.MALFORMED: HTTPStatus.BAD_REQUEST,
    MessageRejectedReason.INCOMPLETE: HTTPStatus.BAD_REQUEST,
    MessageRejectedReason.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    MessageRejectedReason.TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    MessageRejectedReason.LENGTH_REQUIRED: HTTPStatus.LENGTH_REQUIRED,
    MessageRejectedReason.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    MessageRejectedReason.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    MessageRejectedReason.SERVER_BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    MessageRejectedReason.STORAGE_FAILED: HTTPStatus.SERVICE_UNAVAILABLE,
    MessageRejectedReason.STORAGE_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
}
"""Statuses of refusals; all others are 403."""
_FIELDS: Final = {
    HTTPStatus.METHOD_NOT_ALLOWED: (("Allow", "POST"),),
    HTTPStatus.TOO_MANY_REQUESTS: (("Retry-After", "1"),),
    HTTPStatus.SERVICE_UNAVAILABLE: (("Retry-After", "10"),),
}


class BlobClient(Protocol):
    """Identity of a client, as far as its connection proves it."""

    transport: Transport

    @property
    def likely_device(self) -> Device | None:
        """Device to which a failure before admission is attributed, if there is one."""

    async def admit(self, size: int) -> Device | Reason:
        """
        Return the device, or the reason to refuse the upload, which is already published.

        Args:
            size: Octets of the upload.
        """


class UploadConnection:
    """
    Handles the request on one connection.

    Args:
        on_request: Called once the head of the request was read.
        ports: Ports of the other protocols, for clients that speak one.
    """

    def __init__(
        self,
        config: BlobsConfig,
        stream: TcpStream,
        remote: Remote,
        client: BlobClient,
        *,
        blobs: Blobs,
        clock: Clock,
        on_request: Callable[[], None],
        ports: Ports,
    ) -> None:
        self._config = config
        self._stream = stream
        self._remote = remote
        self._client = client
        self._blobs = blobs
        self._clock = clock
        self._on_request = on_request
        self._ports = ports
        self._device: Device | None = None
        self._head: Head | None = None
        self._rest = b""
        """Content that arrived together with the head."""
        self._all_read = False
        self.failed = False
        """True after an upload that failed by a defect of the server."""

    async def hold(self) -> None:
        """Receive the upload, reply, and close the connection. Cancelling closes the connection at once."""
        try:
            reply = await self._answer()
            with suppress(OSError):  # TimeoutError is one
                async with asyncio.timeout(_LINGER):
                    await self._stream.write(reply)
                    await self._stream.end()
                if not self._all_read:
                    await self._stream.linger(_LINGER)
        finally:
            self._stream.close()

    async def _answer(self) -> bytes:
        try:
            return await self._take()
        except UploadRefused as exc:
            self._blobs.refused(
                exc,
                device=self._device or self._client.likely_device,
                remote=self._remote,
                transport=self._client.transport,
                size=None if self._head is None else self._head.length,
            )
            return self._refusal(exc.reason, exc.detail)
        except Exception:
            log.exception("upload_defect", remote=self._remote[0])
            self.failed = True
            return self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, "this is the server's fault")

    async def _take(self) -> bytes:
        head = await self._read_head()
        if head is None:  # a port scan
            return b""
        self._head = head
        self._on_request()
        found = await self._client.admit(head.length or 0)
        if isinstance(found, Reason):
            return self._refusal(found, found.hint)
        self._device = found
        if head.method != "POST":
            raise UploadRefused(MessageRejectedReason.METHOD_NOT_ALLOWED, f"{head.method[:20]}, wanted POST")
        if head.length is None and not head.is_chunked:
            seen = "Transfer-Encoding" if "transfer-encoding" in head.fields else "no length"
            detail = f"the request has {seen}, wanted Content-Length"
            raise UploadRefused(MessageRejectedReason.LENGTH_REQUIRED, detail)
        transport = self._client.transport
        with self._blobs.upload(found, size=head.length or 0, remote=self._remote, transport=transport) as upload:
            content = Content(self._config, self._stream, head, self._rest)
            await content.copy_to(upload)
            self._all_read = True
            blob = await self._blobs.finish(
                upload,
                properties={
                    "address": render_remote(self._remote),
                    "method": head.method,
                    "path": head.path[:_PATH_KEPT],
                },
                declared=content.media_type,
                note=content.note,
            )
        return self._reply(HTTPStatus.OK, f"stored as blob {render(blob.id)}")

    async def _read_head(self) -> Head | None:
        """Read the head of the request; None if the client closed the connection without sending anything."""
        octets = b""
        try:
            async with asyncio.timeout(self._config.header_timeout):
                while (end := end_of_head(octets)) is None:
                    more = await self._stream.read(MAX_HEAD)
                    if not more:
                        raise ConnectionError
                    octets += more
            self._rest = octets[end:]
            return decode(octets[:end])
        except MalformedMessage as exc:
            mark = self._ports.mark(octets, served=ProtocolName.HTTP)
            detail = exc.detail if mark is None else mark.detail
            raise UploadRefused(MessageRejectedReason.MALFORMED, detail, at=exc.at, mark=mark) from exc
        except TimeoutError:
            detail = f"{len(octets)} octets of a request in {self._config.header_timeout:g} s (blobs.header_timeout)"
            raise UploadRefused(MessageRejectedReason.TOO_SLOW, detail) from None
        except OSError as exc:
            if not octets:
                return None
            detail = f"the connection ended after {len(octets)} octets, within the head of the request"
            raise UploadRefused(MessageRejectedReason.INCOMPLETE, detail) from exc

    def _refusal(self, reason: Reason, text: str) -> bytes:
        status = HTTPStatus.FORBIDDEN
        if isinstance(reason, MessageRejectedReason):
            status = _STATUS.get(reason, status)
        return self._reply(status, f"{reason.value}: {text}")

    def _reply(self, status: HTTPStatus, text: str) -> bytes:
        return encode_reply(
            status,
            text,
            date=formatdate(self._clock.time_ns() / 1e9, usegmt=True),
            fields=_FIELDS.get(status, ()),
            with_content=self._head is None or self._head.method != "HEAD",
        )
