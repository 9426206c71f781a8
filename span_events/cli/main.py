"""The entry point. It is light: the other modules load while a Ctrl-C is already taken care of."""

from __future__ import annotations

import sys

from span_events.cli.loading import INTERRUPTED, Loading


def main() -> None:
    """Run the command line; never returns."""
    try:
        with Loading():
            from span_events.cli.commands import cli  # noqa: PLC0415  # this is what loads
        cli()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
