"""``guide``: the guides of the package, in the terminal; needs no server."""

from __future__ import annotations

import difflib
import re
import sys
from functools import cache
from importlib.resources import files
from typing import Final

import click
from rich.console import Console
from rich.markdown import Markdown

from span_events.cli.options import Command
from span_events.cli.output import show_table, use_colours
from span_events.errors import InvalidRequest

_WIDEST: Final = 120
"""Columns of a guide at most: longer lines are hard to read."""
_NEAR: Final = 0.4
"""Least similarity of a name that an error suggests (`difflib`: 1 is equal)."""


@click.command(cls=Command)
@click.argument("name", required=False)
def guide(name: str | None) -> None:
    """
    List the guides, or show the one that you name.

    On a terminal a guide is formatted and opens in the pager; in a pipe it is plain Markdown.

    Examples:
      span-events guide
      span-events guide dtls
      span-events guide settings | grep '^| `coap'
    """
    guides = read_guides()
    if name is None:
        rows = ((each, summary_of(text)) for each, text in guides.items())
        return show_table(("GUIDE", "ABOUT"), rows, nothing="There are no guides.")
    if name not in guides:
        raise _unknown(name, guides)
    if not sys.stdout.isatty():
        return click.echo(guides[name], nl=False)
    return click.echo_via_pager(_formatted(guides[name]))


@cache
def read_guides() -> dict[str, str]:
    """Return the Markdown text of each guide by name, in the order of names."""
    folder = files("span_events").joinpath("guides")
    found = {each.name.removesuffix(".md"): each for each in folder.iterdir() if each.name.endswith(".md")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def summary_of(text: str) -> str:
    """Return the first sentence below a guide's heading, without Markdown."""
    _heading, _, rest = text.partition("\n\n")
    sentence = re.split(r"(?<=\.)\s", rest, maxsplit=1)[0]
    return re.sub(r"[`*]", "", " ".join(sentence.split()))


def _unknown(name: str, guides: dict[str, str]) -> InvalidRequest:
    within = [each for each in guides if name.lower() in each]
    near = within or difflib.get_close_matches(name.lower(), guides, cutoff=_NEAR)
    advice = f"did you mean {' or '.join(near)}?" if near else "`span-events guide` lists all guides."
    return InvalidRequest(f"there is no guide {name[:60]!r}", hint=advice)


def _formatted(text: str) -> str:
    console = Console(force_terminal=use_colours(), no_color=not use_colours(), highlight=False)
    console.width = min(console.width, _WIDEST)
    with console.capture() as capture:
        console.print(Markdown(text, hyperlinks=False))
    return capture.get()
