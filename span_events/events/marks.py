"""Marks: peculiarities of a message that tell its developer about a mistake."""

from __future__ import annotations

from typing import NamedTuple


class Mark(NamedTuple):
    """A peculiarity of one message; the message itself may have been accepted."""

    detail: str
    """Sentence for people: what was seen, and what is right."""
    looks_like: str | None = None
    """Protocol or reserved path that the sender probably meant."""
    expected_port: int | None = None
    """Port where that protocol is served."""
