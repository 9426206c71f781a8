"""A table of the configuration file."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def entry_of(field: FieldInfo) -> type[Section] | None:
    """Return the settings of the tables in a list of tables; None for another setting."""
    inner = next(iter(get_args(field.annotation)), None)
    return inner if isinstance(inner, type) and issubclass(inner, Section) else None


def is_list_of_tables(field: FieldInfo) -> bool:
    """Return whether a setting is a list of tables, such as ``[[radius.nas]]``."""
    return entry_of(field) is not None
