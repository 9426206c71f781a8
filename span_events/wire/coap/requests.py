"""Requests: their path, their method, and the critical options that this server does not support."""

from __future__ import annotations

from typing import Final

from span_events.wire.coap.messages import CoapMessage, Code, Option, name_of_code, option_of

METHODS: Final = frozenset(code for code in Code if 0 < code < 32)
"""Codes of methods."""
_NO_RESPONSE: Final = int(Option.NO_RESPONSE)
_URI_PATH: Final = int(Option.URI_PATH)
_SERVED: Final = frozenset(
    {
        *(Option.URI_HOST, Option.URI_PORT, Option.URI_PATH, Option.URI_QUERY),
        *(Option.ACCEPT, Option.BLOCK2, Option.BLOCK1),
    }
)
"""Critical options of a request that this server understands."""
_NAMES: Final = {int(each): each.name.title().replace("_", "-") for each in Option}
"""Names of options as RFC 7252 writes them."""
_IGNORED: Final = frozenset((Option.URI_HOST, Option.URI_PORT))
"""Critical options whose value does not matter: the server has one host and one port."""
_ONCE: Final = frozenset((Option.ACCEPT, Option.BLOCK2, Option.BLOCK1))
"""Options that may occur once; a second one counts as an unknown option (RFC 7252 §5.4.5)."""


def unsupported_option(request: CoapMessage) -> int | None:
    """
    Return the number of the first unsupported critical option of a request; None without one.

    Proxy-Uri and Proxy-Scheme require a 5.05 (RFC 7252 §5.10.2), all others a 4.02 or no response (§5.4.1).
    Elective options are ignored, Uri-Host and Uri-Port whatever their length: devices in the field need that.
    """
    for number, _ in request.unfit:
        if number & 1 and number not in _IGNORED:
            return number
    previous = 0
    for number, _ in request.options:
        if number & 1 and (number not in _SERVED or (number == previous and number in _ONCE)):
            return number
        previous = number
    return None


def path_of(request: CoapMessage) -> str:
    """
    Return the path of a request as text: ``/`` and its segments.

    A NUL in a segment ends the path; octets before it that are not UTF-8 are replaced.
    """
    path = ""
    for number, value in request.options:
        if number == _URI_PATH:
            if b"\0" in value:
                return f"{path}/{value.partition(bytes(1))[0].decode('utf-8', 'replace')}"
            path += "/" + value.decode()
    return path or "/"


def oddities_of(request: CoapMessage) -> list[str]:
    """Name what is wrong in the options of a request that is accepted nevertheless."""
    found = [
        f"{_NAMES.get(number, f'option {number}')} has {len(value)} octets: ignored" for number, value in request.unfit
    ]
    for number, value in request.options:
        if number == _URI_PATH and b"\0" in value:
            found.append(f"Uri-Path holds a NUL: cut after {value.index(0)} of {len(value)} octets")
            break
    return found


def is_unwanted(request: CoapMessage, code: int) -> bool:
    """Return whether the client wants no response of this class (No-Response, RFC 7967 §2)."""
    options = request.options
    if not options or options[-1][0] < _NO_RESPONSE:
        return False
    value = option_of(request, _NO_RESPONSE)
    return value is not None and bool(int.from_bytes(value, "big") & 1 << (code >> 5) - 1)


def name_of_method(code: int) -> str:
    """Return the name of a method: ``POST``, or ``method 0.09`` for a code without a name."""
    return Code(code).name if code in METHODS else f"method {name_of_code(code)}"
