"""Warnings: names that a request has and the API has not, told in the header ``X-Warning`` of the reply."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Final

from aiohttp import web

HEADER: Final = "X-Warning"
_WARNINGS: Final = web.RequestKey("warnings", list[str])
_MOST: Final = 8
"""Names that one reply tells; of the others, it tells the number."""
_SHOWN: Final = 60
"""Characters of a name that are told and compared."""


def warn(request: web.Request, name: str, what: str, known: Collection[str]) -> None:
    """
    Note an unknown name, which the server ignores.

    Args:
        name: Its path: ``config.ciot.imsl``.
        what: What the name stands for: ``field``.
        known: Names that are known in its place.
    """
    warnings = request.setdefault(_WARNINGS, [])
    if len(warnings) >= _MOST:
        warnings.append("")
        return
    parent, _, last = name.rpartition(".")
    near = difflib.get_close_matches(last[:_SHOWN], known, n=1)
    advice = f"; did you mean {parent}{'.' if parent else ''}{near[0]}?" if near else ""
    warnings.append(f"{_printable(name)}: there is no such {what}, it is ignored{advice}")


def write(request: web.Request, response: web.StreamResponse) -> None:
    """Write the warnings of a request into its reply."""
    warnings = request.get(_WARNINGS)
    if not warnings:
        return
    told = warnings[:_MOST]
    if more := len(warnings) - len(told):
        told.append(f"{more} more names are ignored")
    response.headers[HEADER] = ", ".join(told)


def _printable(name: str) -> str:
    """Return a name as a header may carry it (RFC 9110 5.5): in printable ASCII, and bounded."""
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    return "".join(each if " " <= each <= "~" else "?" for each in shown)
