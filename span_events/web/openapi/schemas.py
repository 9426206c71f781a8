"""Parts of JSON schemas (draft 2020-12): Span's kinds of values, and the request bodies as their models have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from span_events import ids
from span_events.web.rest.bodies.models import Body

Schema = dict[str, Any]

SCHEMAS: Final = "#/components/schemas/"
TRUE_FALSE: Final[Schema] = {"type": "boolean"}
NUMBER: Final[Schema] = {"type": "integer"}
TEXTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}
ID: Final[Schema] = {
    "type": "string",
    "pattern": f"^[{ids.ALPHABET}]{{1,14}}$",
    "description": "Identifier, base 24; 0 for none.",
}


def text(description: str = "") -> Schema:
    """Return the schema of a text."""
    return {"type": "string"} | ({"description": description} if description else {})


def digits(description: str) -> Schema:
    """Return the schema of an int64, which Span writes as text."""
    return {"type": "string", "pattern": "^[0-9]+$", "description": description}


def one_of(words: Iterable[str]) -> Schema:
    """Return the schema of one of some words."""
    return {"type": "string", "enum": [str(each) for each in words]}


def list_of(item: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": item}


def ref(name: str) -> Schema:
    """Refer to a schema of the document."""
    return {"$ref": SCHEMAS + name}


def fields(description: str, always: Mapping[str, Schema], sometimes: Mapping[str, Schema] | None = None, /) -> Schema:
    """
    Return the schema of an object.

    Args:
        always: Fields that it always has.
        sometimes: Fields that it may have.
    """
    schema: Schema = {"type": "object", "description": description, "properties": {**always, **(sometimes or {})}}
    return schema | ({"required": list(always)} if always else {})


def of_bodies(kinds: Iterable[type[Body]]) -> dict[str, Schema]:
    """Write the schemas of request bodies, by name; those within them included."""
    _, found = models_json_schema([(each, "validation") for each in kinds], ref_template=SCHEMAS + "{model}")
    return {name: _plain(each) for name, each in found["$defs"].items()}


def _plain(schema: Any) -> Any:
    """Leave out what pydantic adds: titles, the default null, and null beside each type (it is the same as absent)."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found: Schema = {}
    for name, each in schema.items():
        if name == "properties":
            found[name] = {field: _plain(inner) for field, inner in each.items()}
        elif name == "anyOf":
            (kind,) = [_plain(other) for other in each if other != {"type": "null"}]
            found |= kind
        elif name == "description":
            found.setdefault(name, each.replace("``", "`"))
        elif name != "title" and (name, each) != ("default", None):
            found[name] = _plain(each)
    return found
