"""
Errors of The Things Stack: a code, a template with its values, and perhaps a cause; as JSON of the API.

The same `ErrorDetails` explains a refusal and is the data of an event that reports a failure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from span_events.errors import SpanEventsError

EVENTS: Final = "pkg/events"
"""Namespace of errors of name filters."""
EVENTS_API: Final = "pkg/events/grpc"
"""Namespace of errors of the two methods."""
RIGHTS: Final = "pkg/auth/rights"
ERROR_DETAILS: Final = "type.googleapis.com/ttn.lorawan.v3.ErrorDetails"

CANCELLED: Final = 1
INVALID_ARGUMENT: Final = 3
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
ABORTED: Final = 10
UNIMPLEMENTED: Final = 12
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

HTTP_STATUS: Final = MappingProxyType(
    {1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429}
    | {9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401}
)
"""HTTP status of each google.rpc.Code, as grpc-gateway maps them."""

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """
    One error: its identity, its template and the values for that.

    Args:
        message_format: Text with placeholders such as ``{name}``, usually between back-ticks.
        code: google.rpc.Code.
    """

    namespace: str
    name: str
    message_format: str
    code: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    cause: ErrorDetails | None = None
    correlation_id: str = ""

    @property
    def message(self) -> str:
        """The error as one line: ``error:NAMESPACE:NAME (TEXT)``."""
        text = _PLACEHOLDER.sub(lambda found: self.attributes.get(found[1], found[0]), self.message_format)
        return f"error:{self.namespace}:{self.name} ({text})"

    def numbered(self, correlation_id: str) -> ErrorDetails:
        """Return the error with the number of its request, 32 hexadecimal digits."""
        return replace(self, correlation_id=correlation_id)

    def as_json(self, *, nested: bool = False) -> dict[str, Any]:
        """Return the JSON object; a nested cause has no ``@type``."""
        found: dict[str, Any] = {} if nested else {"@type": ERROR_DETAILS}
        found |= {"namespace": self.namespace, "name": self.name, "message_format": self.message_format}
        if self.attributes:
            found["attributes"] = dict(self.attributes)
        if self.correlation_id:
            found["correlation_id"] = self.correlation_id
        if self.cause is not None:
            found["cause"] = self.cause.as_json(nested=True)
        return found | {"code": self.code}

    def as_status(self) -> dict[str, Any]:
        """Return the google.rpc.Status that reports the error."""
        return {"code": self.code, "message": self.message, "details": [self.as_json()]}


class StatusError(SpanEventsError):
    """A request to The Things Stack's API is refused, or its stream ends."""

    code = "things_stack"

    def __init__(self, details: ErrorDetails) -> None:
        super().__init__(details.message)
        self.details = details


class UndecodableRequest(SpanEventsError):
    """A request is not the JSON or protobuf that the method takes; the reply is a status without details."""

    code = "things_stack_request"


def validation(field_name: str, reason: str, message: str, cause: ErrorDetails | None = None) -> ErrorDetails:
    """Return the error of a field whose value is not valid; the error of an inner field is the cause."""
    values = {"field": field_name, "name": f"{message}ValidationError", "reason": reason}
    return ErrorDetails("pkg/errors", "validation", "invalid `{field}`: {reason}", INVALID_ARGUMENT, values, cause)


def undecodable(text: str) -> ErrorDetails:
    """Return the error of a request that cannot be decoded."""
    return ErrorDetails("pkg/errors", "undecodable", "{detail}", INVALID_ARGUMENT, {"detail": text[:200]})


def no_rights(kind: str, identifier: str) -> StatusError:
    """Return the refusal of a token that does not reach an entity."""
    text = f"no rights for {kind} `{{uid}}`"
    return StatusError(ErrorDetails(RIGHTS, f"no_{kind}_rights", text, PERMISSION_DENIED, {"uid": identifier}))


def not_found(kind: str, identifier: str) -> StatusError:
    """Return the refusal of an entity that does not exist."""
    key = f"{kind}_id"
    text = f"{kind} with id `{{{key}}}` not found"
    return StatusError(
        ErrorDetails("pkg/identityserver/store", f"{kind}_not_found", text, NOT_FOUND, {key: identifier})
    )


NO_IDENTIFIERS: Final = ErrorDetails(EVENTS_API, "no_identifiers", "no identifiers", INVALID_ARGUMENT)
UNAUTHENTICATED_CALL: Final = ErrorDetails(RIGHTS, "unauthenticated", "unauthenticated", UNAUTHENTICATED)
INVALID_TOKEN: Final = ErrorDetails("pkg/auth", "token", "invalid token", INVALID_ARGUMENT)
UNKNOWN_TOKEN: Final = ErrorDetails("pkg/identityserver", "api_key_not_found", "API key not found", UNAUTHENTICATED)
EXPIRED_TOKEN: Final = ErrorDetails("pkg/identityserver", "api_key_expired", "API key expired", UNAUTHENTICATED)
UNSUPPORTED_AUTHORIZATION: Final = ErrorDetails(
    "pkg/identityserver", "unsupported_authorization", "unsupported authorization method", UNAUTHENTICATED
)
CLOSING: Final = ErrorDetails("unknown", "unknown", "grpc: the client connection is closing", CANCELLED)
"""The end of a stream when the server shuts down, in the original's words."""
