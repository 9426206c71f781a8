"""
Streams as the body of an HTTP reply: from its head to its last octet.

The hub writes to the connection's transport, chunked transfer coding included, so that all readers of a group get the
same octets.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from aiohttp import HttpVersion11, web

from span_events import ids
from span_events.errors import Unavailable
from span_events.fanout.hub import Hub
from span_events.fanout.subscriber import Close, Ending, Framing, Sink, Subscriber, unchanged
from span_events.log import get_logger
from span_events.registry.model import Token
from span_events.web.connection import Connection
from span_events.web.streams import compression
from span_events.web.streams.reading import By

log = get_logger("streams")

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that a client gets to read the end of a stream."""
_IDLE: Final = 30
"""Seconds of silence after which the kernel asks whether the client is there, and between the next two questions."""
_PROBES: Final = 3
_EXTRA: Final = 4096
"""Octets that a client may send after its request; a stream expects none."""
_PART: Final = 64
"""Frames of the past that are written at once."""
_LOOK: Final = 0.02
"""Seconds until the next look at a client that reads the past more slowly than it is written."""


def chunk(octets: bytes) -> bytes:
    """Return a chunk of the chunked transfer coding (RFC 9112 7.1)."""
    return b"%x\r\n%b\r\n" % (len(octets), octets)


def compressed_chunk(octets: bytes) -> bytes:
    """Return a chunk of a gzip member."""
    return compression.Block.of(octets, chunk)


def is_chunked(request: web.BaseRequest) -> bool:
    """Return whether the reply to a request is chunked; without (HTTP/1.0), it ends with the connection."""
    return request.version >= HttpVersion11


def is_compressed(response: web.StreamResponse) -> bool:
    """Return whether a reply says that it is compressed."""
    return "Content-Encoding" in response.headers


def wrapping_of(request: web.BaseRequest) -> Framing:
    """Return the framing of each write of a reply, compressed if its client asks for that."""
    if not is_chunked(request):
        return unchanged
    return compressed_chunk if compression.accepts_gzip(request) else chunk


def tune(transport: asyncio.Transport, *, send_buffer: int) -> None:
    """
    Bound the memory that a stalled reader can pin: in the kernel here, in the process by the hub.

    Args:
        send_buffer: Octets, see ``fanout.send_buffer``.
    """
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    transport.set_write_buffer_limits(high=1 << 30)  # the hub keeps the limit; aiohttp must not pause


async def serve(
    request: web.Request,
    response: web.StreamResponse,
    hub: Hub,
    token: Token,
    *,
    send_buffer: int,
    subscribe: Callable[[Sink, Close], Subscriber],
    farewell: Callable[[Ending, str], bytes],
    on_end: Callable[[By], None] = lambda by: None,
    remote: str | None = None,
) -> web.StreamResponse:
    """
    Send the head of a reply, subscribe, and return when the stream has ended.

    Args:
        subscribe: Adds the reader to the hub.
        farewell: Returns the last frame of a stream that the server ends, without the transfer coding.
        on_end: Called with the side that ended the stream.
        remote: Address of the client, if it is not that of the connection.
    """
    ended: asyncio.Future[tuple[Ending, str] | None] = asyncio.get_running_loop().create_future()

    def end(ending: Ending | None, text: str = "") -> None:
        if not ended.done():
            ended.set_result(None if ending is None else (ending, text))

    transport = await _open(request, response, end, send_buffer=send_buffer)
    if transport is None:
        return response
    wrap = wrapping_of(request) if is_compressed(response) else chunk if is_chunked(request) else unchanged
    sink = _sink_of(response, transport)
    subscriber: Subscriber | None = None
    try:
        try:
            subscriber = subscribe(sink, end)
        except Unavailable as exc:  # others were faster
            end(Ending.BEHIND, exc.detail)
        log.info("subscriber_joined", token=ids.render(token.id), path=request.path, remote=remote or request.remote)
        how = await ended
    finally:
        if subscriber is not None:
            hub.unsubscribe(subscriber)
    by = By.SERVER if how else By.CLIENT
    on_end(by)
    log.info(
        "subscriber_left",
        token=ids.render(token.id),
        by=by.value,
        reason=how[1] if how else "",
        delivered=subscriber.delivered if subscriber else 0,
        dropped=subscriber.dropped if subscriber else 0,
    )
    if how is not None and not transport.is_closing():
        frame = farewell(*how)
        if frame:
            sink.write(wrap(frame))
        _end_member(sink, transport)
        await _finish(response, transport)
    return response


async def export(
    request: web.Request,
    response: web.StreamResponse,
    frames: Iterator[bytes],
    wrap: Framing,
    *,
    send_buffer: int,
    patience: float,
) -> web.StreamResponse:
    """
    Send frames in parts, each when the client has read most of the one before, and end the reply.

    Args:
        wrap: Wraps each part, as a chunk for example.
        patience: Seconds for which a part may wait until the client reads; then the connection is cut.
    """
    left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    transport = await _open(
        request, response, lambda _: None if left.done() else left.set_result(None), send_buffer=send_buffer
    )
    if transport is None:
        return response

    async def has_room(limit: int) -> bool:
        try:
            async with asyncio.timeout(patience):
                while transport.get_write_buffer_size() > limit and not left.done():
                    await asyncio.wait([left], timeout=_LOOK)
        except TimeoutError:
            log.info("export_stalled", path=request.path, remote=request.remote, seconds=patience)
            transport.abort()
        return not left.done() and not transport.is_closing()

    sink = _sink_of(response, transport)
    while part := b"".join(islice(frames, _PART)):
        if not await has_room(send_buffer):
            return response
        sink.write(wrap(part))
    _end_member(sink, transport)
    await has_room(0)  # nothing limits the time of a connection that is a stream but this
    return response


async def _open(
    request: web.Request, response: web.StreamResponse, left: Callable[[None], None], *, send_buffer: int
) -> asyncio.Transport | None:
    """
    Send the head of a reply, and return the transport, which from then on belongs to the stream.

    None if the client left meanwhile.

    Args:
        left: Called when the client leaves later.
    """
    if is_chunked(request):
        response.enable_chunked_encoding()
    response.force_close()  # more requests of the connection are not understood; its head tells pools of clients
    await response.prepare(request)
    transport, connection = request.transport, request.protocol
    if transport is None or transport.is_closing():
        return None
    tune(transport, send_buffer=send_buffer)
    probe(transport)
    if is_compressed(response):
        transport.write(chunk(compression.HEAD))
    assert isinstance(connection, Connection)
    connection.become_stream(_Leaving(left))
    return transport


def _sink_of(response: web.StreamResponse, transport: asyncio.Transport) -> Sink:
    """Return the sink of a reply's blocks, which may be compressed."""
    return compression.Member(transport) if is_compressed(response) else transport


def _end_member(sink: Sink, transport: asyncio.Transport) -> None:
    """Write the checksum of a reply that is compressed."""
    if isinstance(sink, compression.Member):
        transport.write(chunk(sink.end()))


class _Leaving:
    """Takes the octets of a client that has sent its request: drops a few, and notes that the client has left."""

    def __init__(self, left: Callable[[None], None]) -> None:
        self._left = left
        self._dropped = 0

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Drop octets; a client that goes on sending is cut, as reading costs what the client likes."""
        self._dropped += len(data)
        if self._dropped > _EXTRA:
            self._left(None)
        return False, b""

    def feed_eof(self) -> None:
        """Note the end of the connection."""
        self._left(None)


async def _finish(response: web.StreamResponse, transport: asyncio.Transport) -> None:
    """End the reply behind all that waits, and give the client a little time to read it."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            transport.set_write_buffer_limits(high=0)  # so that the end of the reply waits for the octets before it
            await response.write_eof()
    except TimeoutError:
        transport.abort()


def probe(transport: asyncio.Transport) -> None:
    """Let the kernel notice a client that vanished: a stream may be silent for hours, and nothing is owed to it."""
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _IDLE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
