"""
The reading side of a stream: pongs and closes of the client, within a budget, and the end of the connection.

A stream expects nothing of its client but pongs. A client that sends more than ``streams.client_frames`` frames or
``streams.client_octets`` octets a second is closed (1008), so that it cannot keep the process from others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aiohttp import WSCloseCode

from span_events.bounded.rates import Allowance
from span_events.clock import Clock
from span_events.config import StreamsConfig
from span_events.log import get_logger
from span_events.wire.client_frames import NO_CODE, ClientFrames, ClientMessage, FrameRefused, Opcode
from span_events.wire.websocket import PING, close_frame, pong_frame

log = get_logger("streams")

LONGEST_MESSAGE: Final = 4096
"""Octets that a client may send in one message."""
_CLOSE_TIMEOUT: Final = 2.0
"""Seconds that a client gets to answer our close frame, and to read what waits for it when the stream ends."""
_BURST: Final = 2.0
"""Seconds whose allowance may be used at once."""
_LOST: Final = 1006
"""The connection ended without a close frame; never sent (RFC 6455 §7.4.1)."""


class By(StrEnum):
    """The side that ended a stream."""

    CLIENT = "client"
    SERVER = "server"
    NETWORK = "network"
    """The connection was lost, or the client left without a close frame."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a stream: its side, close code and text."""

    by: By
    code: int
    reason: str = ""


class Reader:
    """
    Takes the octets of an upgraded connection, as aiohttp's parser for it.

    Args:
        transport: The connection.
        pause: Stops the reading of the connection until its end (`RequestHandler.pause_reading`; the transport's own
            would be undone by aiohttp).
        spare: Octets that may wait to be sent while a ping is still answered.
        longest: Octets that a client may send in one message.
        on_flood: Called once if the client is closed for its flood.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        config: StreamsConfig,
        clock: Clock,
        *,
        pause: Callable[[], None],
        spare: int,
        on_flood: Callable[[], None],
        longest: int = LONGEST_MESSAGE,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._pause = pause
        self._spare = spare
        self._on_flood = on_flood
        self._longest = longest
        self._frames = ClientFrames(longest)
        self._frame_allowance = Allowance(config.client_frames, config.client_frames * _BURST)
        self._octet_allowance = Allowance(config.client_octets, config.client_octets * _BURST)
        self._deaf = False
        """True once octets of the client are not read any more."""
        self._timer: asyncio.TimerHandle | None = None
        self.end: End | None = None
        """Set as soon as it is known how the stream ends."""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Set when the connection has ended, or may be closed."""
        self._first_text: asyncio.Future[bytes | None] | None = None
        self.on_text: Callable[[bytes], None] = self._take_first
        """Called with each text message."""
        self.on_octets: Callable[[bytes], None] = lambda _: None
        """Called with each binary message."""
        self.on_end: Callable[[], None] = lambda: None
        """Called before a close frame is written: nothing may follow it."""
        self.alive = True
        """True if the client sent octets since the last ping."""

    @property
    def has_ended(self) -> bool:
        """True as soon as nothing may be written any more."""
        return self.end is not None

    # ---- called by aiohttp --------------------------------------------------------------------

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take octets."""
        self.alive = True
        if self.gone.done() or self._deaf:
            return False, b""
        now = self._clock.monotonic()
        try:
            for message in self._frames.feed(data):
                if not self._frame_allowance.admits(1, now):
                    self._flooded()
                    break
                if message is not None:
                    self._take(message)
                if self.gone.done():
                    break
            if not self._octet_allowance.admits(len(data), now):
                self._flooded()
        except FrameRefused as exc:
            if self.end is None:
                self.close(exc.close_code, exc.detail)
                self._frames = ClientFrames(self._longest)  # for the client's answer
            else:
                self._stop_reading()
        return False, b""

    def feed_eof(self) -> None:
        """Note that the connection has ended."""
        if self.end is None:
            self.end = End(By.NETWORK, _LOST)
            self.on_end()
        self._finish()

    # ---- called by the stream -----------------------------------------------------------------

    def expect_text(self) -> None:
        """Keep the first text message, for `first_text`."""
        self._first_text = asyncio.get_running_loop().create_future()

    async def first_text(self, seconds: float) -> bytes | None:
        """Wait for the first text message; None if the stream ends before, or after so many seconds."""
        assert self._first_text is not None
        timer = asyncio.get_running_loop().call_later(seconds, self._expire, self._first_text)
        try:
            return await self._first_text
        finally:
            timer.cancel()

    @staticmethod
    def _expire(waiting: asyncio.Future[bytes | None]) -> None:
        if not waiting.done():
            waiting.set_result(None)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame behind all that waits, and give the client a little time to answer it."""
        if self.end is not None:
            return
        self.end = End(By.SERVER, code, reason)
        self.on_end()
        if self._transport.is_closing():
            self._finish()
            return
        self._transport.write(close_frame(code, reason))
        self._timer = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT, self._transport.abort)

    def ping(self, silence: float) -> None:
        """
        Ask a silent client whether it is there, or drop it if nothing has come since it was asked.

        Args:
            silence: Seconds between pings, for the log.
        """
        if self._transport.is_closing():
            return  # the connection is lost; uvloop would refuse to write
        if self._transport.get_write_buffer_size():
            return  # it is being written to; the hub watches whether it reads
        if self.alive:
            self.alive = False
            self._transport.write(PING)
        else:
            log.info("subscriber_vanished", silent=silence)
            self._transport.abort()

    # ---- frames -------------------------------------------------------------------------------

    def _take(self, message: ClientMessage) -> None:
        if message.kind is Opcode.CLOSE:
            code, reason = message.close()
            if self.end is None:
                self.end = End(By.CLIENT, code, reason)
                self.on_end()
                if not self._transport.is_closing():
                    self._transport.write(close_frame(None if code == NO_CODE else code, ""))
            self._transport.close()
            self._finish()
        elif self.end is not None:
            return  # between our close frame and its answer, everything is ignored
        elif message.kind is Opcode.PING:
            # a client that pings but does not read must not make our buffer grow
            if not self._transport.is_closing() and self._transport.get_write_buffer_size() < self._spare:
                self._transport.write(pong_frame(message.payload))
        elif message.kind is Opcode.TEXT:
            self.on_text(message.payload)
        elif message.kind is Opcode.BINARY:
            self.on_octets(message.payload)

    def _take_first(self, text: bytes) -> None:
        if self._first_text is not None and not self._first_text.done():
            self._first_text.set_result(text)

    def _flooded(self) -> None:
        if self.end is None:
            self._on_flood()
        self.close(WSCloseCode.POLICY_VIOLATION, "too many frames: a stream expects nothing but pongs")
        self._stop_reading()

    def _stop_reading(self) -> None:
        """Leave the rest of the octets in the kernel: reading them would cost what the client likes."""
        self._deaf = True
        if not self._transport.is_closing():
            self._pause()

    def _finish(self) -> None:
        """Release the waiting tasks; if octets are unsent, abort the connection after `_CLOSE_TIMEOUT`."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport.get_write_buffer_size():
            self._timer = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT, self._transport.abort)
        if self._first_text is not None and not self._first_text.done():
            self._first_text.set_result(None)
        if not self.gone.done():
            self.gone.set_result(None)
