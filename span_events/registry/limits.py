"""How much tags and parameters may hold, whoever sends them: the API's clients or gateways."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

MAX_ENTRIES: Final = 100
"""Tags of one thing, parameters of one block, entries of what a gateway tells."""
MAX_KEY: Final = 128
"""Characters of a name."""
MAX_VALUE: Final = 1024
"""Characters of a value."""


def excess_of(entries: Mapping[str, str]) -> str:
    """Say what is too much of something; empty if nothing is."""
    if len(entries) > MAX_ENTRIES:
        return f"{len(entries)} entries, at most {MAX_ENTRIES}"
    for name, text in entries.items():
        if not 1 <= len(name) <= MAX_KEY:
            return f"a name has {len(name)} characters, not 1 to {MAX_KEY}"
        if len(text) > MAX_VALUE:
            return f"{name}: the value has {len(text)} characters, at most {MAX_VALUE}"
    return ""


def control_in(entries: Mapping[str, str]) -> str:
    """Say which name or value has a control character (Unicode category Cc), which no registry takes; empty if none."""
    for name, text in entries.items():
        for what in (name, text):
            found = next((each for each in what if unicodedata.category(each) == "Cc"), None)
            if found is not None:
                return f"{name!r}: the {'name' if what is name else 'value'} has the control character {found!r}"
    return ""
