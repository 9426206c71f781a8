"""Limits of tags and parameters, from the API's clients and from gateways."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

MAX_ENTRIES: Final = 100
"""Upper bound of tags of a resource, parameters of a block, entries of a gateway's report."""
MAX_KEY: Final = 128
"""Characters of a name."""
MAX_VALUE: Final = 1024
"""Characters of a value."""


def excess_of(entries: Mapping[str, str]) -> str:
    """Return the exceeded limit as text; empty if none is."""
    if len(entries) > MAX_ENTRIES:
        return f"{len(entries)} entries, at most {MAX_ENTRIES}"
    for name, text in entries.items():
        if not 1 <= len(name) <= MAX_KEY:
            return f"a name has {len(name)} characters, not 1 to {MAX_KEY}"
        if len(text) > MAX_VALUE:
            return f"{name}: the value has {len(text)} characters, at most {MAX_VALUE}"
    return ""


def control_in(entries: Mapping[str, str]) -> str:
    """Return the name or value with a control character (Unicode category Cc), which is refused; empty if none."""
    for name, text in entries.items():
        for what in (name, text):
            found = next((each for each in what if unicodedata.category(each) == "Cc"), None)
            if found is not None:
                return f"{name!r}: the {'name' if what is name else 'value'} has the control character {found!r}"
    return ""
