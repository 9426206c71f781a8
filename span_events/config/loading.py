"""Loads the configuration from its file and the environment, and reports all faults at once, each with its path."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from span_events.config.reference import every_setting
from span_events.config.sections.base import is_list_of_tables
from span_events.config.sections.config import PREFIX, Config, sections
from span_events.errors import ConfigurationError


def load(path: Path | None = None) -> Config:
    """
    Read the configuration from a file (if one is given) and the environment.

    Raises:
        ConfigurationError: The file cannot be read, or settings are wrong; the message names all of them.
    """
    values = {} if path is None else _read(path)
    faults = [*_unknown_tables()]
    try:
        found = Config(**values)
    except ValidationError as exc:
        raise ConfigurationError(faults + [_fault(each) for each in exc.errors()]) from exc
    except Exception as exc:  # pydantic-settings: an environment variable does not parse
        raise ConfigurationError([*faults, f"environment: {exc}"]) from exc
    if faults:
        raise ConfigurationError(faults)
    return found


def _unknown_tables() -> Iterable[str]:
    """
    Name the variables for tables that do not exist; pydantic-settings ignores them.

    Variables without a table may belong to other programs (Kubernetes sets some for each service).
    """
    for variable in sorted(os.environ):
        if variable.upper().startswith(PREFIX):
            table, *path = variable.lower().removeprefix(PREFIX.lower()).split("__")
            if path and table not in Config.model_fields:
                yield f"{'.'.join((table, *path))}: {_no_such_setting((table, *path))} (from {variable})"
            meant = None if path else _with_both_underscores(table)
            if meant:
                yield f"{variable}: there is no such variable; two underscores stand after the table: {meant}"


def _with_both_underscores(words: str) -> str | None:
    """Find the variable that was meant by one with a single underscore (``COAP_PORT``)."""
    for name, section in sections():
        if words.removeprefix(f"{name}_") in section.model_fields and words.startswith(f"{name}_"):
            return f"{PREFIX}{name}__{words.removeprefix(f'{name}_')}".upper()
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))  # editors of Windows write a BOM
    except OSError as exc:
        hint = "Check the path after --config; `span-events config show` writes a file with every setting."
        if isinstance(exc, PermissionError):
            hint = (
                f"User {os.geteuid()} must be able to read it, and to search its folders: `namei -l {path}` shows them."
            )
        raise ConfigurationError([f"{path}: cannot be read: {exc.strerror}"], hint=hint) from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError([f"{path}: is not UTF-8 (octet {exc.start})"]) from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError([f"{path}: is not TOML: {exc}"]) from exc


_RESEMBLES: Final = 0.75
"""Similarity of two names, as `difflib` computes it, above which one may be the other with a typing error."""
_LIST_OF_TABLES: Final = '; a list of tables in the environment is JSON: [{"name": …}, …]'
_WORDS: Final[Mapping[str, str]] = {
    "extra_forbidden": "{unknown}",
    "less_than_equal": "{input} is above {le}",
    "greater_than_equal": "{input} is below {ge}",
    "greater_than": "{input} is not above {gt}",
    "literal_error": "{input} is not {expected}",
    "int_parsing": "{input} is not a whole number{example}",
    "int_parsing_size": "{input} is too large",
    "int_from_float": "{input} is not a whole number{example}",
    "int_type": "{input} is not a whole number{example}",
    "float_parsing": "{input} is not a number{example}",
    "finite_number": "{input} is not a finite number",
    "float_type": "{input} is not a number{example}",
    "bool_parsing": "{input} is not true or false",
    "bool_type": "{input} is not true or false",
    "string_type": "{input} is not text",
    "model_type": "{input} is not a table",
    "tuple_type": "{input} is not a list{list}",
    "value_error": "{error}",
    "missing": "is missing",
    "string_too_short": "is empty",
}


def _fault(error: Any) -> str:
    location = [str(each) for each in error["loc"]]
    path = ".".join(location)
    words = _WORDS.get(error["type"])
    shown = "what stands there" if _may_be_secret(location) else repr(error["input"])
    field = _settings().get(path)
    needed = {
        "unknown": _no_such_setting(location) if error["type"] == "extra_forbidden" else "",
        "example": f", such as {field.default}" if field and field.default else "",
        "list": _LIST_OF_TABLES if field is None or is_list_of_tables(field) else f": write [{shown}]",
    }
    text = words.format(input=shown, **needed, **error.get("ctx", {})) if words else error["msg"]
    variable = PREFIX + "__".join(location).upper()
    return (f"{path}: {text}" if path else text) + (f" (from {variable})" if variable in os.environ else "")


def _no_such_setting(location: Sequence[str]) -> str:
    """Word an unknown name, with the one setting of that name in another table, or the name that it resembles."""
    path = ".".join(each for each in location if not each.isdigit())
    settings = [each.replace("[]", "") for each in _settings()]
    tables = {each.partition(".")[0] for each in settings}
    same = [each for each in settings if each.endswith(f".{location[-1]}")]
    near = difflib.get_close_matches(path, tables if len(location) == 1 else settings, n=1, cutoff=_RESEMBLES)
    meant = same if len(same) == 1 else near
    return "there is no such setting" + (f"; did you mean {meant[0]}?" if meant else "")


@cache
def _settings() -> dict[str, FieldInfo]:
    return dict(every_setting())


def _may_be_secret(location: list[str]) -> bool:
    """Return whether a value may contain a secret of a table in a list: the secret itself, or a malformed table."""
    for section, tables, secret in (("radius", "nas", "secret"), ("chirpstack", "brokers", "password")):
        if location == [section] or (location[:2] == [section, tables] and location[3:] in ([], [secret])):
            return True
    return False
