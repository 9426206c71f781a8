"""Request bodies: parses JSON, checks the fields, and names all wrong ones at once, each with its path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import ValidationError

from span_events.errors import InvalidRequest
from span_events.registry.limits import MAX_ENTRIES
from span_events.web.problems import Fault, InvalidBody
from span_events.web.rest.bodies.fields import seen
from span_events.web.rest.bodies.models import Body
from span_events.web.services import SERVICES
from span_events.web.warnings import warn

B = TypeVar("B", bound=Body)

_MAX_FAULTS: Final = 20
_MAX_MEMBERS: Final = 10_000
"""Fields and elements of a body, nested ones too: 1 MiB has room for 500,000, which take 0.2 s to check."""


async def read_body(request: web.Request, kind: type[B]) -> B:
    """
    Read the body of a request; raises the errors of `parse_body`, and warns of unknown fields.

    Raises:
        aiohttp.web.HTTPRequestEntityTooLarge: The body is over ``http.max_body``.
    """
    octets = await request.read()
    await request.app[SERVICES].turns.enter()
    return told(request, parse_body(octets, kind))


def told(request: web.Request, body: B) -> B:
    """Return a body, having warned its sender of the fields that are unknown."""
    for name, known in body.unknown():
        warn(request, name, "field", known)
    return body


def parse_body(octets: bytes, kind: type[B]) -> B:
    """Parse a JSON object and check its fields; an empty body is an empty object; see `read_json` and `validate`."""
    return validate(read_json(octets), kind)


def read_json(octets: bytes | bytearray) -> object:
    """
    Parse a body as JSON.

    Raises:
        InvalidRequest: The body is not JSON; the message gives line and column of the first wrong character.
            Or it has more fields than any request needs.
    """
    try:
        value: object = orjson.loads(octets or b"{}")
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The body is not JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})") from exc
    if _is_crowded(value):
        raise InvalidRequest(f"The body has over {_MAX_MEMBERS} fields and elements, counting nested ones")
    return value


def _is_crowded(value: object) -> bool:
    room = _MAX_MEMBERS
    waiting = [value]
    while waiting:
        container = waiting.pop()
        if isinstance(container, dict | list):
            room -= len(container)
            if room < 0:
                return True
            waiting.extend(container.values() if isinstance(container, dict) else container)
    return False


def validate(value: object, kind: type[B]) -> B:
    """
    Check the fields of a parsed body.

    Raises:
        InvalidRequest: The body is not an object.
        InvalidBody: Fields are wrong; the error names up to 20 of them.
    """
    if not isinstance(value, dict):
        raise InvalidRequest(f"The body is {seen(value)}; a JSON object is wanted")
    try:
        return kind.model_validate(value)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        faults = [_fault(each) for each in errors[:_MAX_FAULTS]]
        if len(errors) > _MAX_FAULTS:
            faults.append(Fault("", f"{len(errors) - _MAX_FAULTS} more fields are wrong"))
        raise InvalidBody(faults) from exc


def check_tags(present: Mapping[str, str], added: Mapping[str, str] | None) -> None:
    """
    Make sure that tags still fit after being merged into those that are there.

    Raises:
        InvalidRequest: They would be too many.
    """
    total = len(present.keys() | (added or {}).keys())
    if total > MAX_ENTRIES:
        raise InvalidRequest(
            f"tags: {len(present)} are there, with the new ones it would be {total}, at most {MAX_ENTRIES}",
            field="tags",
        )


_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "model_type": "{seen} is not an object",
    "dict_type": "{seen} is not an object",
    "string_type": "{seen} is not text",
    "bool_type": "{seen} is not true or false",
}


def _fault(error: Any) -> Fault:
    path = ".".join(str(each) for each in error["loc"] if each != "[key]")
    if error["type"] == "value_error":
        return Fault(path, str(error["ctx"]["error"]))
    return Fault(path, _WORDS.get(error["type"], error["msg"]).replace("{seen}", seen(error["input"])))
