"""Streams without WebSocket: Server-Sent Events and lines of JSON, live or the past alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from aiohttp import web

from span_events.dialects import sse
from span_events.events.filters import Scope
from span_events.fanout.hub import Hub
from span_events.fanout.subscriber import Close, Ending, Sink, Stream, Subscriber
from span_events.registry.model import Token
from span_events.web.streams import replies
from span_events.web.streams.past import Past
from span_events.web.streams.reading import By
from span_events.web.streams.request import Form, StreamRequest


class Lines:
    """
    Serves streams as the body of a reply.

    Args:
        send_buffer: Octets of the kernel's buffer for one client.
        patience: Seconds for which the past waits for a client that does not read.
        on_end: Called with the side that ended a stream.
    """

    def __init__(
        self, hub: Hub, past: Past, *, send_buffer: int, patience: float, on_end: Callable[[By], None]
    ) -> None:
        self._hub = hub
        self._past = past
        self._send_buffer = send_buffer
        self._patience = patience
        self._on_end = on_end

    async def serve(
        self,
        request: web.Request,
        stream: Stream,
        scope: Scope,
        wish: StreamRequest,
        token: Token,
        *,
        remote: str | None,
    ) -> web.StreamResponse:
        """Serve a stream until it ends; one that does not follow ends where the present begins."""
        headers = {
            "Content-Type": wish.form.value,
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",  # nginx, and others that follow it, pass each event on at once
            "Vary": "Accept, Accept-Encoding",
        }
        if wish.encoding.wrap is replies.compressed_chunk:
            headers["Content-Encoding"] = "gzip"
        response = web.StreamResponse(headers=headers)

        def frames() -> Iterator[bytes]:
            start = [wish.encoding.frame(sse.RETRY)] if wish.form is Form.SSE else []
            return chain(start, self._past.frames(stream, scope, wish))

        def subscribe(sink: Sink, close: Close) -> Subscriber:
            return self._hub.subscribe(
                stream, (scope,), wish.filter, wish.encoding, sink=sink, token_id=token.id, close=close, replay=frames
            )

        def farewell(_ending: Ending, text: str) -> bytes:
            return sse.end(text) if wish.form is Form.SSE else b""

        await self._hub.caught_up(stream, (scope,))
        if not wish.part.follow:
            return await replies.export(
                request,
                response,
                frames(),
                wish.encoding.wrap,
                send_buffer=self._send_buffer,
                patience=self._patience,
            )
        return await replies.serve(
            request,
            response,
            self._hub,
            token,
            send_buffer=self._send_buffer,
            subscribe=subscribe,
            farewell=farewell,
            on_end=self._on_end,
            remote=remote,
        )
