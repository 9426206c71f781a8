"""The body of a firmware upload: a JSON object with the image in base64, far larger than any other body."""

from __future__ import annotations

import asyncio
import binascii
import re
from typing import Any, Final

import orjson
from aiohttp import web

from span_events.config import FirmwareConfig
from span_events.errors import InvalidRequest, TooLarge
from span_events.fleet.firmware.images import Upload
from span_events.web.rest.bodies.models import NewImageBody
from span_events.web.rest.bodies.reading import read_json, told, validate
from span_events.web.services import SERVICES

_IMAGE: Final = "image"
_BASE64: Final = re.compile(r"([A-Za-z0-9+/]*)(=*)")
_MAX_PADDING: Final = 2
_SLICE: Final = 1 << 20
"""Characters decoded in one step, a multiple of 4; between two steps the event loop runs."""


async def receive(request: web.Request, upload: Upload) -> NewImageBody:
    """
    Receive the body of an upload and write the image that it holds.

    At most ``firmware.uploads`` bodies are in memory at once, each up to 4/3 of ``firmware.max_image``.

    Raises:
        InvalidRequest: The body is not a JSON object, its image is not base64, or other fields are wrong.
        TooLarge: The image, or the rest of the body, is too large.
        aiohttp.web.HTTPRequestTimeout: The client paused for too long, or took too long.
    """
    config = request.app[SERVICES].config
    body = await _read(request, config.firmware, -(-config.firmware.max_image // 3) * 4 + config.http.max_body)
    value = await asyncio.to_thread(read_json, body)
    del body
    if not isinstance(value, dict) or not isinstance(value.get(_IMAGE), str):
        return told(request, validate(value, NewImageBody))
    text = value[_IMAGE]
    value[_IMAGE] = ""
    _check_rest(value, config.http.max_body)
    for start in range(0, len(text), _SLICE):
        await upload.write(await asyncio.to_thread(_decode, text, start))
    return told(request, validate(value, NewImageBody))


async def _read(request: web.Request, config: FirmwareConfig, limit: int) -> bytearray:
    """Read the body up to a limit in octets; a larger one is refused, by its Content-Length before it is read."""
    announced = request.content_length
    if announced is not None and announced > limit:
        raise TooLarge(
            f"image: a body of {announced} octets holds more than {config.max_image} octets (firmware.max_image)",
            field=_IMAGE,
        )
    body = bytearray()
    try:
        async with asyncio.timeout(config.upload_timeout):
            while piece := await _piece(request, config.upload_pause):
                body += piece
                if len(body) > limit:
                    raise TooLarge(f"image: is over {config.max_image} octets (firmware.max_image)", field=_IMAGE)
    except TimeoutError:
        raise web.HTTPRequestTimeout(
            text=f"The upload took more than {config.upload_timeout:g} s (firmware.upload_timeout)"
        ) from None
    return body


async def _piece(request: web.Request, pause: float) -> bytes:
    """Receive the octets that have arrived, at most some 100 KiB; none at the end of the body."""
    try:
        async with asyncio.timeout(pause):
            return await request.content.readany()
    except TimeoutError:
        raise web.HTTPRequestTimeout(
            text=f"Nothing of the upload came for {pause:g} s (firmware.upload_pause)"
        ) from None


def _check_rest(value: dict[str, Any], limit: int) -> None:
    """Hold the other fields to the limit of all other bodies, in octets."""
    if len(orjson.dumps(value)) > limit:
        raise TooLarge(f"The body is over {limit} octets (http.max_body), the image not counted")


def _decode(text: str, start: int) -> bytes:
    """
    Decode one slice of the image (RFC 4648 section 4, with padding, without line breaks).

    Raises:
        InvalidRequest: The image is not base64; the message gives the first wrong character, from 1.
    """
    end = start + _SLICE
    piece = text[start:end]
    try:
        if end < len(text) and "=" in piece:
            raise binascii.Error("padding before the end")
        return binascii.a2b_base64(piece, strict_mode=True)
    except (binascii.Error, ValueError) as exc:  # ValueError: a character that is not ASCII
        at, detail = _first_fault(text)
        raise InvalidRequest(
            f"image: is not base64 at character {at + 1}: {detail}",
            hint="Base64 as in RFC 4648 section 4, with padding and without line breaks (`base64 -w 0 FILE`).",
            field=_IMAGE,
        ) from exc


def _first_fault(text: str) -> tuple[int, str]:
    """Return the place, from 0, where a text stops being base64, and the reason."""
    found = _BASE64.match(text)
    assert found is not None, "the pattern matches the empty text"
    digits, padding = found.groups()
    if len(padding) > _MAX_PADDING:
        return len(digits) + _MAX_PADDING, "too much padding"
    if found.end() < len(text):
        return found.end(), "a character after the padding" if padding else "a character that is no digit of base64"
    return len(text), "the end of a group of four is missing"
