"""The OpenAPI 3.1 document of the whole HTTP port."""

from __future__ import annotations

from functools import cache
from itertools import chain
from types import ModuleType
from typing import Any, Final

import orjson

import span_events
from span_events.web.openapi import activities
from span_events.web.openapi.operations import Operation, path_parameters, problem_responses
from span_events.web.openapi.schemas import Schema, of_bodies, text
from span_events.web.openapi.subjects import (
    certificates,
    collections,
    devices,
    firmware,
    gateways,
    logins,
    messages,
    outputs,
    streams,
    system,
    things_stack,
)

_SUBJECTS: Final[dict[str, ModuleType]] = {
    "system": system,
    "logins": logins,
    "collections": collections,
    "devices": devices,
    "messages": messages,
    "gateways": gateways,
    "certificates": certificates,
    "firmware": firmware,
    "outputs": outputs,
    "streams": streams,
    "things-stack": things_stack,
}
_DESCRIPTION: Final = """\
Span's REST API with extensions, streams of events, and the pages of the server itself.

Numbers that may exceed 2^53 are text, identifiers are base 24, payloads are base64. Unknown fields and query parameters
are ignored and named in `X-Warning`; null is the same as absent. Any request may also be refused with 405 (the path
has other methods), 408 (the request came too slowly), 414 or 431 (it is too long).
"""


@cache
def render() -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(document())


def document() -> dict[str, Any]:
    """Build the document."""
    paths: dict[str, Schema] = {}
    bodies = []
    for tag, module in _SUBJECTS.items():
        operation: Operation
        for operation in module.OPERATIONS:
            paths.setdefault(operation.path, {})[operation.method] = operation.render(tag)
            if isinstance(operation.body, type):
                bodies.append(operation.body)
    schemas = chain.from_iterable(module.SCHEMAS.items() for module in (*_SUBJECTS.values(), activities))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "span-events",
            "version": span_events.__version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in _SUBJECTS],
        "security": [{"token": []}, {"bearer": []}, {"query": []}],
        "paths": paths,
        "components": {
            "schemas": {**dict(schemas), **of_bodies(dict.fromkeys(bodies))},
            "parameters": path_parameters(),
            "responses": problem_responses(),
            "headers": {
                "X-Request-Id": {
                    "description": "Number of the request, in the log and in the correlation id of its events.",
                    "schema": text(),
                },
                "ETag": {"description": "Version of what clients can set; for If-Match.", "schema": text()},
                "X-Warning": {"description": "Names in the request that were ignored.", "schema": text()},
            },
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-API-Token"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "api_token",
                    "description": "Read-only tokens alone: URLs are logged.",
                },
            },
        },
    }
