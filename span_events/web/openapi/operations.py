"""Operations: one method of one path, as the OpenAPI document has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from span_events.web.openapi.schemas import ID, NUMBER, TRUE_FALSE, Schema, digits, ref
from span_events.web.problems import CONTENT_TYPE
from span_events.web.rest.bodies.models import Body

JSON: Final = "application/json"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_EXAMPLE_ID: Final = "17dh0cf43jfgl8"
PROBLEMS: Final = MappingProxyType(
    {
        400: "The request is invalid: its path, a parameter, or its body",
        401: "There is no token, or it is unknown",
        403: "The token does not reach this resource, or may only read",
        404: "There is no such resource",
        408: "The body came too slowly",
        409: "The resource is in use, or its new value is that of another one",
        412: "The resource has another version than If-Match names",
        413: "The body is too large",
        415: "The body is compressed",
        417: "The header Expect is not 100-continue",
        426: "The WebSocket handshake is incomplete",
        429: "A limit is reached; the reply names it",
        500: "The server failed; its log has the request id",
        501: "The server does not have this operation",
        503: "The server cannot do this now",
    }
)
"""Meaning of each status of a problem document."""
_EVERYWHERE: Final = (400, 417, 415, 500, 503)


def parameter(name: str, description: str, schema: Schema, *, required: bool = False) -> Schema:
    """Describe a query parameter."""
    return {"name": name, "in": "query", "description": description, "schema": schema, "required": required}


EXTENDED: Final = parameter("extended", "Also the fields that Span's API does not have.", TRUE_FALSE)
LIMIT: Final = parameter("limit", "At most so many; 0 is as many as without.", NUMBER | {"minimum": 0, "maximum": 1000})
PAGE: Final = (LIMIT, parameter("offset", "Only those behind the one with this id.", ID))
"""Parameters of lists of what is oldest first."""
MESSAGES: Final = (
    LIMIT,
    parameter("offset", "Only those older than this one; not with start or end.", ID),
    parameter("start", "Only those since then, Unix milliseconds.", digits("Unix milliseconds")),
    parameter("end", "Only those until then, Unix milliseconds.", digits("Unix milliseconds")),
)
"""Parameters of lists of what is newest first."""


IF_MATCH: Final[Schema] = {
    "name": "If-Match",
    "in": "header",
    "description": "ETag that the resource must have; 412 if it has another.",
    "schema": {"type": "string"},
}
_VERSIONED: Final = ("Collection", "Device", "Gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    id: str
    summary: str
    query: tuple[Schema, ...] = ()
    headers: tuple[Schema, ...] = ()
    body: type[Body] | Schema | None = None
    example: Mapping[str, Any] | None = None
    """A body."""
    content: Mapping[str, Schema]
    """Schema of the reply by media type."""
    reply: str = "Done."
    """Description of the reply."""
    statuses: Mapping[int, Schema] = field(default_factory=dict)
    """Other replies than 200 and problems."""
    problems: tuple[int, ...] = ()
    """Statuses of problems beside those that every operation has."""
    needs_token: bool = True

    def render(self, tag: str) -> Schema:
        """Write the operation object, under a tag."""
        names = _PARAMETER.findall(self.path)
        conditions = (IF_MATCH,) if self._is_versioned() and self.method == "patch" else ()
        found: Schema = {
            "operationId": self.id,
            "tags": [tag],
            "summary": self.summary,
            "parameters": [
                *({"$ref": f"#/components/parameters/{name}"} for name in names),
                *self.query,
                *self.headers,
                *conditions,
            ],
            "responses": self._responses(bool(names)),
        }
        if self.body is not None:
            schema = self.body if isinstance(self.body, dict) else ref(self.body.__name__)
            example = {} if self.example is None else {"example": dict(self.example)}
            found["requestBody"] = {"required": True, "content": {JSON: {"schema": schema, **example}}}
        if not self.needs_token:
            found["security"] = []
        return found

    def _is_versioned(self) -> bool:
        """Return whether the reply is a resource with an ETag."""
        return any(self.content.get(JSON) == ref(each) for each in _VERSIONED)

    def _responses(self, names: bool) -> Schema:
        problems = {*_EVERYWHERE, *self.problems}
        if self.needs_token:
            problems |= {401, 403}
        if names:
            problems.add(404)
        if self.body is not None:
            problems.add(413)
        if self._is_versioned() and self.method == "patch":
            problems.add(412)
        headers = ("X-Request-Id", "X-Warning", *(("ETag",) if self._is_versioned() else ()))
        replies: Schema = {
            "200": {
                "description": self.reply,
                "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
                "content": {kind: {"schema": schema} for kind, schema in self.content.items()},
            }
        }
        replies |= {str(status): schema for status, schema in self.statuses.items()}
        for status in sorted(problems):
            replies.setdefault(str(status), {"$ref": f"#/components/responses/{status}"})
        return replies


def json_of(name: str) -> dict[str, Schema]:
    """Return the content of a reply that is one of the document's schemas."""
    return {JSON: {**ref(name)}}


def problem_responses() -> dict[str, Schema]:
    """Write the refusals, by status."""
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", "X-Warning")}
    return {
        str(status): {
            "description": f"{meaning}.",
            "headers": headers,
            "content": {CONTENT_TYPE: {"schema": ref("Problem")}},
        }
        for status, meaning in PROBLEMS.items()
    }


def path_parameters() -> dict[str, Schema]:
    """Write the parameters of paths, by name."""
    serial = digits("Serial number of the certificate, decimal")
    schemas = dict.fromkeys(("collection", "device", "gateway", "image", "blob", "output", "message"), ID) | {
        "serial": serial
    }
    return {
        name: {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"Identifier of the {name}." if schema is ID else schema["description"],
            "schema": schema,
            "example": _EXAMPLE_ID if schema is ID else "1",
        }
        for name, schema in schemas.items()
    }
