"""The entry point. It is light: the other modules load while a Ctrl-C or SIGTERM is already taken care of."""

from __future__ import annotations

import signal
import sys

from span_events.cli.loading import INTERRUPTED, Loading, leave_in_order

_SERVER = "serve"


def main() -> None:
    """Run the command line; never returns."""
    if _SERVER in sys.argv[1:]:
        signal.signal(signal.SIGTERM, leave_in_order)  # until the event loop has its own
    try:
        with Loading():
            from span_events.cli.commands import cli  # noqa: PLC0415  # this is what loads
        cli()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
