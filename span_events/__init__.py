"""A WebSocket gateway that shows, live, what cellular IoT devices do and why a step failed."""

from typing import Final

__version__: Final = "0.1.0"
"""The package's version; ``pyproject.toml`` reads it from here."""
__released__: Final = "2026-11-30"
"""The day of that version (UTC); a clock that shows an earlier one is wrong."""
