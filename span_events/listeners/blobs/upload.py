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
from span_events.fleet.blobs.uploads import Upload, UploadRefused
from span_events.ids import render
from span_events.listeners.ports import Ports
from span_events.listeners.tcp import TcpStream
from span_events.log import get_logger
from span_events.net import Remote, render_remote
from span_events.registry.model import Device
from span_events.wire.http_head import CONTINUE, MAX_HEAD, Head, decode, encode_reply, end_of_head
from span_events.wire.recognition import ProtocolName

log = get_logger("listeners.blobs")

_CHUNK: Final = 65_536
"""Octets of an upload that are collected before a write to the disk."""
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

    def admit(self, size: int) -> Device | Reason:
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
        found = self._client.admit(head.length or 0)
        if isinstance(found, Reason):
            return self._refusal(found, found.hint)
        self._device = found
        if head.method != "POST":
            raise UploadRefused(MessageRejectedReason.METHOD_NOT_ALLOWED, f"{head.method[:20]}, wanted POST")
        length = head.length
        if length is None or "transfer-encoding" in head.fields:
            seen = "Transfer-Encoding" if "transfer-encoding" in head.fields else "no length"
            detail = f"the request has {seen}, wanted Content-Length"
            raise UploadRefused(MessageRejectedReason.LENGTH_REQUIRED, detail)
        transport = self._client.transport
        with self._blobs.upload(found, size=length, remote=self._remote, transport=transport) as upload:
            await self._take_content(upload, length, waits=head.expects_continue and not self._rest)
            self._all_read = True
            blob = await self._blobs.finish(
                upload,
                properties={
                    "address": render_remote(self._remote),
                    "method": head.method,
                    "path": head.path[:_PATH_KEPT],
                },
                declared=head.fields.get("content-type", ""),
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

    async def _take_content(self, upload: Upload, length: int, *, waits: bool) -> None:
        chunk, left = bytearray(self._rest[:length]), length - len(self._rest)
        pace = _Pace(self._config, length)
        pace.count(len(chunk))
        if waits:
            await self._let_begin(pace)
        while left > 0:
            more = await self._read(min(left, _CHUNK - len(chunk)), pace)
            chunk += more
            left -= len(more)
            if len(chunk) == _CHUNK:
                await upload.write(bytes(chunk))
                chunk.clear()
        if chunk:
            await upload.write(bytes(chunk))

    async def _let_begin(self, pace: _Pace) -> None:
        try:
            await self._stream.write(CONTINUE)
        except OSError as exc:
            raise UploadRefused(MessageRejectedReason.INCOMPLETE, pace.position(exc.strerror)) from exc

    async def _read(self, size: int, pace: _Pace) -> bytes:
        try:
            async with asyncio.timeout_at(pace.deadline):
                more = await self._stream.read(size)
        except TimeoutError:
            raise UploadRefused(MessageRejectedReason.TOO_SLOW, pace.verdict()) from None
        except OSError as exc:
            raise UploadRefused(MessageRejectedReason.INCOMPLETE, pace.position(exc.strerror)) from exc
        if not more:
            raise UploadRefused(MessageRejectedReason.INCOMPLETE, pace.position())
        pace.count(len(more))
        return more

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


class _Pace:
    """Minimum rate of an upload: octets per window, and a limit for the whole."""

    def __init__(self, config: BlobsConfig, length: int) -> None:
        self._config = config
        self._length = length
        self._now = asyncio.get_running_loop().time
        self._ends = self._now() + config.upload_timeout
        self._wanted = config.min_rate * config.rate_window
        self._total = 0
        self._begin_window()

    @property
    def deadline(self) -> float:
        """Time of the loop's clock by which more octets must arrive."""
        return min(self._ends, self._window_ends)

    def count(self, octets: int) -> None:
        """Count received octets."""
        self._total += octets
        self._in_window += octets
        if self._in_window >= self._wanted:
            self._begin_window()

    def position(self, cause: str | None = None) -> str:
        """Return the detail for an upload that the end of the connection interrupted."""
        why = f": {cause}" if cause else ""
        return f"the connection ended after {self._total} of {self._length} octets{why}"

    def verdict(self) -> str:
        """Return the detail for an upload that exceeded a limit."""
        if self._ends <= self._window_ends:
            limit = f"{self._config.upload_timeout:g} s (blobs.upload_timeout)"
            return f"{self._total} of {self._length} octets in {limit}"
        seen = f"{self._in_window} octets in {self._config.rate_window:g} s"
        wanted = f"wanted {self._wanted:g} (blobs.min_rate, blobs.rate_window)"
        return f"{seen} after {self._total - self._in_window} of {self._length} octets, {wanted}"

    def _begin_window(self) -> None:
        self._in_window = 0
        self._window_ends = self._now() + self._config.rate_window
