"""Runs the migrations. Imports Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

FIRST: Final = 5
"""Schema of release 0.1.0. Unreleased ones before it lack tables, which its migration creates."""


def run(connection: Connection, found: int) -> None:
    """
    Migrate to the newest schema, in the transaction of the connection.

    Args:
        found: The present schema.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.stamp(config, str(found) if found >= FIRST else "base", purge=True)
    command.upgrade(config, "head")
