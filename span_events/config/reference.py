"""The settings for readers: as ``config/span-events.toml``, and as the guide to settings; a test compares both."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from span_events.config.sections.base import Section, entry_of
from span_events.config.sections.config import Config, sections


def render_file(config: Config | None = None) -> str:
    """
    Write the configuration file: every setting with its meaning, and lists of tables as examples.

    Args:
        config: Values to write in place of the defaults; secrets are left out.
    """
    lines = [
        f"# span-events: every setting, with its {'default' if config is None else 'value'}.",
        "# An environment variable wins over this file: SPAN_EVENTS_COAP__PORT is port in [coap].",
        "",
    ]
    for name, field in _outside_tables():
        value = field.default if config is None else getattr(config, name)
        lines += [f"# {field.description}", f"{name} = {_toml(value)}"]
    for name, section in sections():
        lines += ["", f"# {(section.__doc__ or '').strip()}", f"[{name}]"]
        values = section.model_construct() if config is None else getattr(config, name)
        for key, field in section.model_fields.items():
            entry = entry_of(field)
            if entry is None:
                lines += [f"# {field.description}", f"{key} = {_toml(getattr(values, key))}"]
            else:
                lines += ["", f"# {(entry.__doc__ or '').strip()} {field.description}"]
                lines += _tables(f"[[{name}.{key}]]", entry, getattr(values, key))
    return "\n".join(lines) + "\n"


def _tables(heading: str, entry: type[Section], tables: Iterable[Section]) -> Iterable[str]:
    """Write the tables of a list, or an example if there are none."""
    found = list(tables)
    if not found:
        yield f"#{heading}"
        for key, field in entry.model_fields.items():
            yield f"# {field.description}"
            yield f"#{key} = {_toml(_example(field))}"
    for table in found:
        yield heading
        for key in entry.model_fields:
            hidden = isinstance(getattr(table, key), SecretStr)
            yield f"# {key} is not shown" if hidden else f"{key} = {_toml(getattr(table, key))}"


def render_guide() -> str:
    """Return the guide to settings (``guides/settings.md``), with the table of all settings."""
    return f"""\
# Settings

Every setting of the server, with its default and its meaning.

`config/span-events.toml` holds the same as a file for `serve --config FILE`.
An environment variable wins over the file: `SPAN_EVENTS_COAP__PORT=5700` is `port` in `[coap]`.
All faults of a configuration are reported at once, with their path.

{render_table()}"""


def render_table() -> str:
    """Return the table of settings."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for path, field in (*_outside_tables(), *every_setting()):
        default = "needed" if field.is_required() else f"`{_toml(field.default)}`"
        rows.append(f"| `{path}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def _outside_tables() -> list[tuple[str, FieldInfo]]:
    """List the settings that stand above the tables."""
    tables = dict(sections())
    return [(name, field) for name, field in Config.model_fields.items() if name not in tables]


def every_setting() -> Iterable[tuple[str, FieldInfo]]:
    """List the settings of all tables with their paths; ``[]`` stands for the number of a table in a list."""
    for name, section in sections():
        for key, field in section.model_fields.items():
            yield f"{name}.{key}", field
            entry = entry_of(field)
            if entry is not None:
                yield from ((f"{name}.{key}[].{inner}", each) for inner, each in entry.model_fields.items())


def _example(field: FieldInfo) -> object:
    return field.examples[0] if field.examples else field.default


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(str(value), ensure_ascii=False)  # a basic string of TOML; a secret is written as asterisks
