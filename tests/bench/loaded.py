"""Loads the modules of a server and of the commands, in the fork server; the forked processes share their memory."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Final

_MODULES: Final = (
    "span_events.cli.commands",
    "span_events.cli.running",
    "span_events.cli.serve",
    "span_events.cli.tail",
    "span_events.client",
    "aiosqlite",
    "cryptography.hazmat.backends.openssl.backend",
    "encodings.idna",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvloop",
)

for _each in _MODULES:
    import_module(_each)
gc.collect()
gc.freeze()  # a collection in a child would write to each of these objects, and so copy their pages
