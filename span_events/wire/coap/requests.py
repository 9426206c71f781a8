"""Requests: their path, their method, and all else that their options say, read in one go."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from span_events.wire.coap.blocks import Block, read_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, name_of_code

METHODS: Final = frozenset(code for code in Code if 0 < code < 32)
"""Codes of methods."""
_NAMES: Final = {int(each): each.name.title().replace("_", "-") for each in Option}
"""Names of options as RFC 7252 writes them."""
_URI_PATH: Final = int(Option.URI_PATH)
_SERVED: Final = frozenset(
    {
        *(Option.URI_HOST, Option.URI_PORT, Option.URI_PATH, Option.URI_QUERY),
        *(Option.ACCEPT, Option.BLOCK2, Option.BLOCK1),
    }
)
"""Critical options of a request that this server understands."""
_IGNORED: Final = frozenset((Option.URI_HOST, Option.URI_PORT))
"""Critical options whose value does not matter: the server has one host and one port."""
_ONCE: Final = frozenset((Option.ACCEPT, Option.BLOCK2, Option.BLOCK1))
"""Options that may occur once; a second one counts as an unknown option (RFC 7252 §5.4.5)."""
_REMEMBERED: Final = 1024
"""Readings that are remembered: devices send the same few options again and again."""
_SHORT: Final = 4
"""Options of a request at most whose reading is remembered."""
_SMALL: Final = 64
"""Octets of one of their values at most."""


class Reading(NamedTuple):
    """What the options of a request say."""

    path: str
    """``/`` and the segments; a NUL ends the path, and octets before it that are not UTF-8 are replaced."""
    folded: str
    """The path without slashes at its ends, in lower case."""
    unsupported: int | None
    """
    Number of the first unsupported critical option.

    Proxy-Uri and Proxy-Scheme require a 5.05 (RFC 7252 §5.10.2), all others a 4.02 or no response (§5.4.1).
    Elective options are ignored, Uri-Host and Uri-Port whatever their length: devices in the field need that.
    """
    block1: Block | None
    block2: Block | None
    accept: int | None
    """The only content format that the client takes."""
    unwanted: int
    """Classes of responses that the client does not want, as bits (No-Response, RFC 7967 §2)."""
    oddities: tuple[str, ...]
    """What is wrong, but accepted, in words."""


def read_options(request: CoapMessage) -> Reading:
    """Return what the options of a request say."""
    options = request.options
    if request.unfit or len(options) > _SHORT:
        return _read(options, request.unfit)
    for _, value in options:
        if len(value) > _SMALL:
            return _read(options, ())
    return _read_again(options)


def path_of(request: CoapMessage) -> str:
    """Return the path of a request."""
    return read_options(request).path


def unsupported_option(request: CoapMessage) -> int | None:
    """Return the number of the first unsupported critical option of a request; None without one."""
    return read_options(request).unsupported


def is_unwanted(reading: Reading, code: int) -> bool:
    """Return whether the client wants no response of this class."""
    return bool(reading.unwanted and reading.unwanted & 1 << (code >> 5) - 1)


def name_of_method(code: int) -> str:
    """Return the name of a method: ``POST``, or ``method 0.09`` for a code without a name."""
    return Code(code).name if code in METHODS else f"method {name_of_code(code)}"


def _read(options: Options, unfit: Options) -> Reading:
    values = dict(reversed(options))  # the first one of a number counts
    path = _path_in(options)
    block1, block2, accept = (values.get(each) for each in (Option.BLOCK1, Option.BLOCK2, Option.ACCEPT))
    return Reading(
        path,
        path.strip("/").lower(),
        _unsupported_in(options, unfit),
        None if block1 is None else read_block(block1),
        None if block2 is None else read_block(block2),
        None if accept is None else int.from_bytes(accept, "big"),
        int.from_bytes(values.get(Option.NO_RESPONSE, b""), "big"),
        tuple(_oddities_in(options, unfit)),
    )


@lru_cache(maxsize=_REMEMBERED)
def _read_again(options: Options) -> Reading:
    return _read(options, ())


def _unsupported_in(options: Options, unfit: Options) -> int | None:
    for number, _ in unfit:
        if number & 1 and number not in _IGNORED:
            return number
    previous = 0
    for number, _ in options:
        if number & 1 and (number not in _SERVED or (number == previous and number in _ONCE)):
            return number
        previous = number
    return None


def _path_in(options: Options) -> str:
    path = ""
    for number, value in options:
        if number == _URI_PATH:
            if b"\0" in value:
                return f"{path}/{value.partition(bytes(1))[0].decode('utf-8', 'replace')}"
            path += "/" + value.decode()
    return path or "/"


def _oddities_in(options: Options, unfit: Options) -> Iterator[str]:
    for number, value in unfit:
        yield f"{_NAMES.get(number, f'option {number}')} has {len(value)} octets: ignored"
    for number, value in options:
        if number == _URI_PATH and b"\0" in value:
            yield f"Uri-Path holds a NUL: cut after {value.index(0)} of {len(value)} octets"
            return
