"""The settings for readers: as ``config/span-events.toml``, and as the guide to settings; a test compares both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from span_events.config.sections import Config, Section, sections


def render_file() -> str:
    """Write the configuration file: every setting with its meaning and default, and lists of tables as examples."""
    lines = [
        "# span-events: every setting, with its default.",
        "# An environment variable wins over this file: SPAN_EVENTS_COAP__PORT is port in [coap].",
        "",
        f"# {Config.model_fields['node'].description}",
        f"node = {_toml(Config.model_fields['node'].default)}",
    ]
    for name, section in sections():
        lines += ["", f"# {(section.__doc__ or '').strip()}", f"[{name}]"]
        for key, field in section.model_fields.items():
            entry = _entry_of(field)
            if entry is None:
                lines += [f"# {field.description}", f"{key} = {_toml(field.default)}"]
                continue
            lines += ["", f"# {(entry.__doc__ or '').strip()} {field.description}", f"#[[{name}.{key}]]"]
            for inner, each in entry.model_fields.items():
                lines += [f"# {each.description}", f"#{inner} = {_toml(_example(each))}"]
    return "\n".join(lines) + "\n"


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
    node = Config.model_fields["node"]
    rows.append(f"| `node` | `{_toml(node.default)}` | {node.description} |")
    for path, field in every_setting():
        default = "needed" if field.is_required() else f"`{_toml(field.default)}`"
        rows.append(f"| `{path}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def every_setting() -> Iterable[tuple[str, FieldInfo]]:
    """List the settings of all tables with their paths; ``[]`` stands for the number of a table in a list."""
    for name, section in sections():
        for key, field in section.model_fields.items():
            yield f"{name}.{key}", field
            entry = _entry_of(field)
            if entry is not None:
                yield from ((f"{name}.{key}[].{inner}", each) for inner, each in entry.model_fields.items())


def _entry_of(field: FieldInfo) -> type[Section] | None:
    """Return the settings of the tables in a list of tables."""
    inner = next(iter(get_args(field.annotation)), None)
    return inner if isinstance(inner, type) and issubclass(inner, Section) else None


def _example(field: FieldInfo) -> object:
    return field.examples[0] if field.examples else field.default


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | SecretStr):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return str(value)
