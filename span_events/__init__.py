"""A WebSocket gateway that shows, live, what cellular IoT devices do and why a step failed."""

from typing import Final

__version__: Final = "0.1.0"
"""The package's version; ``pyproject.toml`` reads it from here."""
