"""A table of the configuration file."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is wanted; pydantic takes them as 1 and 0."""
        return number_or_other(value, cls.model_fields[str(info.field_name)])


def number_or_other(value: Any, field: FieldInfo) -> Any:
    """
    Return the value of a setting, except true or false for a number.

    Raises:
        ValueError: It is one of them.
    """
    if isinstance(value, bool) and field.annotation in (int, float):
        raise ValueError(f"{str(value).lower()} is not a number")
    return value


def entry_of(field: FieldInfo) -> type[Section] | None:
    """Return the settings of the tables in a list of tables; None for another setting."""
    inner = next(iter(get_args(field.annotation)), None)
    return inner if isinstance(inner, type) and issubclass(inner, Section) else None


def is_list_of_tables(field: FieldInfo) -> bool:
    """Return whether a setting is a list of tables, such as ``[[radius.nas]]``."""
    return entry_of(field) is not None
