"""``python -m span_events`` is ``span-events``."""

from __future__ import annotations

from span_events.cli.main import main

if __name__ == "__main__":
    main()
