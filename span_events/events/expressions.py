"""
Regular expressions over names of events: a linear-time engine (RE2), within bounds.

A user's expression runs when a request is read, never on traffic. RE2 takes no exponential time, but a large program
takes long to compile and to run; the bounds keep one expression below about 10 ms.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import re2

from span_events.errors import InvalidRequest

LONGEST: Final = 256
"""Characters of an expression."""
MOST: Final = 2_048
"""Characters of all expressions of one request together."""
_MEMORY: Final = 1 << 16
"""Octets of RE2's program and of its automaton."""


class InvalidExpression(InvalidRequest):
    """
    A text is no regular expression, or too large a one.

    Args:
        reason: The engine's words, or ours.
    """

    def __init__(self, expression: str, reason: str) -> None:
        super().__init__(f"event: /{expression[:60]}/ is no regular expression: {reason}", field="event")
        self.reason = reason


def compiled(expression: str) -> re2._Regexp:
    """
    Compile an expression to at most 2,730 instructions, two thirds of `_MEMORY` at 16 octets each.

    Raises:
        InvalidExpression: The text is no regular expression, or is too large.
    """
    options = re2.Options()
    options.max_mem = _MEMORY
    options.never_capture = True
    options.log_errors = False
    try:
        if len(expression) > LONGEST:
            raise re2.error(f"over {LONGEST} characters")
        return re2.compile(expression, options)
    except re2.error as exc:
        reason = exc.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidExpression(expression, text) from exc


@lru_cache(maxsize=1024)
def names_matching(expression: str, names: tuple[str, ...]) -> frozenset[str]:
    """
    Return the names in which an expression is found.

    Raises:
        InvalidExpression: The text is no regular expression, or is too large.
    """
    search = compiled(expression).search
    return frozenset(name for name in names if search(name))
