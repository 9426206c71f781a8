"""Output: tables, times and tags for people, documents for scripts."""

from __future__ import annotations

import base64
import binascii
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

_NS: Final = 1_000_000_000
_MS: Final = 1_000
_TIMES: Final = {
    "lastReceived": _NS,
    "received": _MS,
    "createdTime": _MS,
    "sentTime": _MS,
    "allocatedAt": _MS,
    "lastUpdate": _MS,
}
"""Fields that are times, with their units per second (Span mixes units)."""
_UNSET: Final[tuple[object, ...]] = ("", "0", None, {}, [])
"""Values that stand for an empty field."""
_WRAPPED: Final = 20
"""Characters in which a column that may wrap is still readable."""
_GAP: Final = 2
"""Characters between two columns."""
_PREVIEW: Final = 48
"""Octets of a payload that a table shows."""


def show_json(document: object) -> None:
    """Print a document as the server gave it, indented."""
    write_octets(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_octets(octets: bytes) -> None:
    """Write octets to standard output as they are, and see that they leave at once."""
    sys.stdout.flush()
    sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()


def use_colours() -> bool:
    """Return whether to colour standard output: on a terminal, unless NO_COLOR or FORCE_COLOR decides."""
    if os.environ.get("NO_COLOR"):
        return False
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


def show_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    nothing: str,
    fixed: int = 1,
    optional: Sequence[str] = (),
) -> None:
    """
    Print a table; in a pipe plain, and never cut. A narrow terminal gets fewer columns, and a hint that says so.

    Args:
        headings: One per column.
        rows: Cells as text; control characters from devices and users are escaped.
        nothing: Text on standard error if there are no rows.
        fixed: Number of first columns that are never wrapped, as people copy them (ids).
        optional: Headings of columns that may be left out, the least important first; others wrap.
    """
    cells = [[printable(each) for each in row] for row in rows]
    if not cells:
        click.echo(nothing, err=True)
        return
    widths = [max(len(heading), *(len(row[index]) for row in cells)) for index, heading in enumerate(headings)]
    shown = _columns_that_fit(headings, widths, optional)
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for index in shown:
        whole = index < fixed or headings[index] in optional
        table.add_column(headings[index], no_wrap=whole, min_width=widths[index] if whole else None, overflow="fold")
    for row in cells:
        table.add_row(*(Text(row[index]) for index in shown))
    _print(table)
    if len(shown) < len(headings):
        left_out = ", ".join(each for index, each in enumerate(headings) if index not in shown)
        click.echo(f"hint: The terminal is too narrow for {left_out}; `| less -S` or --json shows all.", err=True)


def _columns_that_fit(headings: Sequence[str], widths: Sequence[int], optional: Sequence[str]) -> list[int]:
    """Leave out optional columns until the others have room on the terminal; a free text may wrap at its end."""
    shown = list(range(len(headings)))
    if not sys.stdout.isatty():
        return shown
    room = Console().width
    for heading in optional:
        needed = [widths[each] if headings[each] in optional else min(widths[each], _WRAPPED) for each in shown]
        if sum(needed) + _GAP * (len(shown) - 1) <= room:
            break
        shown.remove(headings.index(heading))
    return shown


def show_fields(document: Mapping[str, Any]) -> None:
    """Print one resource, a line for each field that is not empty."""
    table = Table(box=None, pad_edge=False, show_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _flat(document):
        table.add_row(Text(printable(name)), Text(printable(value)))
    _print(table)


def tags_text(tags: Mapping[str, str] | None) -> str:
    """Write tags as ``name=value``, in the order of their names."""
    return " ".join(f"{name}={value}" for name, value in sorted((tags or {}).items()))


def time_text(value: object, *, per_second: int = _MS) -> str:
    """Write a time of the API (decimal text) as local time; empty for never."""
    try:
        units = int(str(value or 0))
    except ValueError:
        return str(value)
    if not units:
        return ""
    return datetime.fromtimestamp(units / per_second).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def payload_text(encoded: str) -> str:
    """Show the beginning of a payload (base64): as text if it is text, else in hexadecimal."""
    try:
        payload = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return encoded
    shown, more = payload[:_PREVIEW], "…" if len(payload) > _PREVIEW else ""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return shown.hex(" ") + more
    if not text.isprintable():
        return shown.hex(" ") + more
    return text[:_PREVIEW] + more


def printable(text: str) -> str:
    """Escape control characters: this text comes from devices and users."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in document.items():
        if value in _UNSET or (value == 0 and value is not False):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif name in _TIMES:
            yield prefix + name, time_text(value, per_second=_TIMES[name])
        elif isinstance(value, bool):
            yield prefix + name, "yes" if value else "no"
        elif name in {"lastPayload", "payload"}:
            yield prefix + name, payload_text(str(value))
        else:
            yield prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print(table: Table) -> None:
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    # rich would wrap at 80 columns and pad every line; a pipe wants whole lines.
    buffer = io.StringIO()
    Console(file=buffer, width=100_000, color_system=None, highlight=False).print(table)
    for line in buffer.getvalue().splitlines():
        click.echo(line.rstrip())
