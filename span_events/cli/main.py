"""The entry point. It is light: the other modules load while a Ctrl-C or SIGTERM is already taken care of."""

from __future__ import annotations

import signal
import sys

from span_events.cli.loading import INTERRUPTED, Loading, at_hang_up, leave_in_order, open_closed_streams

_SERVER = "serve"


def main() -> None:
    """Run the command line; never returns."""
    open_closed_streams()
    if _SERVER in sys.argv[1:]:  # until the event loop has handlers of its own
        signal.signal(signal.SIGTERM, leave_in_order)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, at_hang_up())
    try:
        with Loading():
            from span_events.cli.commands import cli  # noqa: PLC0415  # this is what loads
        cli()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
