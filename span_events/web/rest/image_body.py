"""
The body of an upload: a JSON object with an image in base64, twenty times as large as any other body.

It is taken apart while it comes in, so that an upload costs one piece of it in memory: the image is decoded as it
passes, and what is left is a small object that is read like every other body.
"""

from __future__ import annotations

import asyncio
import re
from enum import Enum, auto
from typing import Final

import orjson
from aiohttp import web

from span_events.config import FirmwareConfig
from span_events.errors import InvalidRequest, MalformedMessage, TooLarge
from span_events.fleet.firmware.images import Upload
from span_events.web.rest.bodies import NewImageBody
from span_events.web.rest.reading import parse_body
from span_events.web.services import SERVICES
from span_events.wire.base64_stream import Base64Decoder

_IMAGE: Final = "image"
_MARK: Final = re.compile(rb'["{}\[\]:,]')
_TEXT_END: Final = re.compile(rb'["\\]')
_ESCAPE: Final = re.compile(rb"\\(?:/|u00([0-7][0-9A-Fa-f]))")
"""What stands for a character of base64; any other escape is none."""
_CUT_ESCAPE: Final = re.compile(rb"\\(u[0-9A-Fa-f]{0,3})?\Z")


class _Place(Enum):
    """Where in the object the last octet was."""

    BETWEEN = auto()
    TEXT = auto()
    IMAGE = auto()


class ImageReader:
    """
    Takes an image out of the object that it comes in.

    Args:
        limit: Octets that the object may have besides its image.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        """The object, with an empty text in place of its image."""
        self._place = _Place.BETWEEN
        self._depth = 0
        self._escaped = False
        self._text_start = 0
        self._key: object = None
        self._after_colon = False
        self._decoder: Base64Decoder | None = None
        self._cut = b""
        """Beginning of an escape whose end is in the next piece."""

    def feed(self, octets: bytes) -> bytes:
        """
        Take a piece of the body and return what it holds of the image.

        Raises:
            InvalidRequest: The image is not base64, or there are two.
            TooLarge: The rest of the object is over its limit.
        """
        image = []
        at = 0
        while at < len(octets):
            if self._place is _Place.IMAGE:
                end = octets.find(b'"', at)
                image.append(self._decode(octets[at : end if end >= 0 else None], ended=end >= 0))
                at = end if end >= 0 else len(octets)
                self._place = _Place.BETWEEN if end >= 0 else _Place.IMAGE
                if end >= 0:
                    at = self._keep(octets, at, at + 1)
            elif self._place is _Place.TEXT:
                at = self._pass_text(octets, at)
            else:
                found = _MARK.search(octets, at)
                at = self._keep(octets, at, found.end() if found else len(octets))
                if found:
                    self._pass_mark(found[0])
        return b"".join(image)

    def finish(self) -> NewImageBody:
        """
        Read the rest; the body is over.

        Raises:
            InvalidRequest: It is not a JSON object, or fields are wrong.
        """
        try:
            return parse_body(bytes(self._rest), NewImageBody)
        except InvalidRequest as exc:
            if self._decoder is not None and isinstance(exc.__cause__, orjson.JSONDecodeError):
                exc.detail += ", the image not counted"
            raise

    def _keep(self, octets: bytes, start: int, end: int) -> int:
        if len(self._rest) + end - start > self._limit:
            raise TooLarge(f"The body is over {self._limit} octets (http.max_body), the image not counted")
        self._rest += octets[start:end]
        return end

    def _pass_text(self, octets: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return self._keep(octets, at, at + 1)
        found = _TEXT_END.search(octets, at)
        at = self._keep(octets, at, found.end() if found else len(octets))
        if found and found[0] == b"\\":
            self._escaped = True
        elif found:
            self._place = _Place.BETWEEN
            if self._depth == 1 and not self._after_colon:
                self._key = _text(self._rest[self._text_start :])
        return at

    def _pass_mark(self, mark: bytes) -> None:
        if mark == b'"':
            if self._depth == 1 and self._after_colon and self._key == _IMAGE:
                if self._decoder is not None:
                    raise InvalidRequest("image: is given twice", field=_IMAGE)
                self._decoder = Base64Decoder()
                self._place = _Place.IMAGE
            else:
                self._place = _Place.TEXT
                self._text_start = len(self._rest) - 1
        elif mark in b"{[":
            self._depth += 1
            self._after_colon = False
        elif mark in b"}]":
            self._depth -= 1
        else:
            self._after_colon = mark == b":"

    def _decode(self, piece: bytes, *, ended: bool) -> bytes:
        assert self._decoder is not None, "the image has begun"
        piece = self._cut + piece
        self._cut = b""
        if b"\\" in piece:  # some clients write / or + so
            cut = _CUT_ESCAPE.search(piece)
            if cut and not ended:
                piece, self._cut = piece[: cut.start()], cut[0]
            piece = _ESCAPE.sub(_unescape, piece)
        try:
            return self._decoder.feed(piece) + (self._decoder.finish() if ended else b"")
        except MalformedMessage as exc:
            raise InvalidRequest(
                f"image: is not base64 at character {exc.at + 1}: {exc.detail}",
                hint="Base64 as in RFC 4648 section 4, with padding and without line breaks (`base64 -w 0 FILE`).",
                field=_IMAGE,
            ) from exc


async def receive(request: web.Request, upload: Upload) -> NewImageBody:
    """
    Receive the body of an upload.

    Raises:
        InvalidRequest: It is not a JSON object, its image is not base64, or other fields are wrong.
        TooLarge: The image, or what is besides it, is too large.
        aiohttp.web.HTTPRequestTimeout: The client paused for too long, or took too long.
    """
    config = request.app[SERVICES].config
    _check_length(request.content_length, config.firmware, config.http.max_body)
    reader = ImageReader(config.http.max_body)
    try:
        async with asyncio.timeout(config.firmware.upload_timeout):
            while piece := await _piece(request, config.firmware.upload_pause):
                octets = reader.feed(piece)
                if octets:
                    await upload.write(octets)
    except TimeoutError:
        raise web.HTTPRequestTimeout(
            text=f"The upload took more than {config.firmware.upload_timeout:g} s (firmware.upload_timeout)"
        ) from None
    return reader.finish()


async def _piece(request: web.Request, pause: float) -> bytes:
    """Receive what there is, at most some 100 KiB; nothing at the end."""
    try:
        async with asyncio.timeout(pause):
            return await request.content.readany()
    except TimeoutError:
        raise web.HTTPRequestTimeout(
            text=f"Nothing of the upload came for {pause:g} s (firmware.upload_pause)"
        ) from None


def _check_length(octets: int | None, config: FirmwareConfig, max_body: int) -> None:
    """Refuse what is certainly too large before any of it is read; base64 makes four octets of three."""
    if octets is not None and octets > -(-config.max_image // 3) * 4 + max_body:
        raise TooLarge(
            f"image: a body of {octets} octets holds more than {config.max_image} octets (firmware.max_image)",
            field=_IMAGE,
        )


def _unescape(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode()) if escape[1] else b"/"


def _text(octets: bytes | bytearray) -> object:
    """Read a JSON text; None if it is none, which shows when the whole object is read."""
    try:
        return orjson.loads(octets)
    except orjson.JSONDecodeError:
        return None
