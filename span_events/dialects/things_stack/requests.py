"""
Requests of The Things Stack's API: the entities, the past and the names that a client asks for.

JSON may spell fields in snake case or in camel case; null and unknown fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from span_events.dialects.things_stack.errors import (
    NO_IDENTIFIERS,
    StatusError,
    UndecodableRequest,
    validation,
)
from span_events.dialects.things_stack.names import is_expression
from span_events.events.expressions import MOST
from span_events.proto import things_stack_pb2 as pb

MAX_IDENTIFIERS: Final = 1_000
"""Upper bound of the entities of one request."""
MAX_NAMES: Final = 256
"""Upper bound of the names and expressions of one request."""
LONGEST_CORRELATION_ID: Final = 100
_LONGEST: Final = 36
_ID: Final = "^[a-z0-9](?:[-]?[a-z0-9]){2,}$"
_USER_ID: Final = "^[a-z0-9](?:[-]?[a-z0-9]){1,}$"
_EUI: Final = MappingProxyType({"eui": 16, "dev_eui": 16, "join_eui": 16, "dev_addr": 8})
"""Hexadecimal digits of the secondary identifiers."""
_EMBEDDED: Final = "embedded message failed validation"
_REQUIRED: Final = "value is required"
_KINDS: Final = MappingProxyType(
    {
        "application_ids": "Application",
        "client_ids": "Client",
        "device_ids": "EndDevice",
        "gateway_ids": "Gateway",
        "organization_ids": "Organization",
        "user_ids": "User",
    }
)

_FIELDS: Final = MappingProxyType(
    {
        "application_ids": ("application_id",),
        "client_ids": ("client_id",),
        "device_ids": ("device_id", "application_ids", "dev_eui", "join_eui", "dev_addr"),
        "gateway_ids": ("gateway_id", "eui"),
        "organization_ids": ("organization_id",),
        "user_ids": ("user_id", "email"),
    }
)


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity that a client names; a device has its application too."""

    kind: str
    """``application``, ``device``, ``gateway``, ``client``, ``organization`` or ``user``."""
    id: str
    application: str = ""


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The events that a client asks for."""

    entities: tuple[Entity, ...]
    identifiers: list[dict[str, Any]] = field(compare=False)
    """The entities as the client wrote them, for the start event."""
    tail: int = 0
    after_ns: int | None = None
    names: tuple[str, ...] = ()


def of_json(body: bytes) -> StreamRequest:
    """
    Read the body of a request; an empty one has no identifiers.

    Raises:
        UndecodableRequest: The body is not JSON, or a field has another type.
        StatusError: A value is not valid.
    """
    try:
        document = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as exc:
        text = str(exc)
        raise UndecodableRequest("unexpected EOF" if text.startswith("unexpected end of data") else text) from None
    return of_document(document)


def of_document(document: object) -> StreamRequest:
    """
    Read a request from parsed JSON.

    Raises:
        UndecodableRequest: A field has another type.
        StatusError: A value is not valid.
    """
    fields = _object(document, "StreamEventsRequest")
    identifiers = [_identifiers_of(each) for each in _array(fields, "identifiers")]
    names = [_text(each, "names") for each in _array(fields, "names")]
    tail = _tail(fields.get("tail"))
    after = _after(fields.get("after"))
    if not identifiers:
        raise StatusError(NO_IDENTIFIERS)
    if len(identifiers) > MAX_IDENTIFIERS:
        reason = f"value must contain no more than {MAX_IDENTIFIERS} item(s)"
        raise StatusError(validation("identifiers", reason, "StreamEventsRequest"))
    if len(names) > MAX_NAMES:
        reason = f"value must contain no more than {MAX_NAMES} item(s)"
        raise StatusError(validation("names", reason, "StreamEventsRequest"))
    if sum(len(each) for each in names if is_expression(each)) > MOST:
        reason = f"regular expressions must have no more than {MOST} characters together"
        raise StatusError(validation("names", reason, "StreamEventsRequest"))
    entities = tuple(_entity_of(each, number) for number, each in enumerate(identifiers))
    return StreamRequest(entities, identifiers, tail, after, tuple(names))


def of_protobuf(message: pb.StreamEventsRequest) -> StreamRequest:
    """
    Read a request from its message.

    Raises:
        StatusError: A value is not valid.
    """
    document: dict[str, Any] = {
        "identifiers": [_plain(each) for each in message.identifiers],
        "names": list(message.names),
        "tail": message.tail,
    }
    request = of_document(document)
    if not message.HasField("after"):
        return request
    after = message.after.seconds * 1_000_000_000 + message.after.nanos
    return StreamRequest(request.entities, request.identifiers, request.tail, after, request.names)


def check_correlation_id(text: str) -> str:
    """
    Return a correlation id of 1 to 100 characters.

    Raises:
        StatusError: It has more or none.
    """
    if 0 < len(text) <= LONGEST_CORRELATION_ID:
        return text
    reason = f"value length must be between 1 and {LONGEST_CORRELATION_ID} runes, inclusive"
    raise StatusError(validation("correlation_id", reason, "FindRelatedEventsRequest"))


# ---- decoding --------------------------------------------------------------------------------


def _object(value: object, what: str) -> Mapping[str, Any]:
    """Return an object with its keys in snake case, without nulls."""
    if not isinstance(value, dict):
        raise UndecodableRequest(f"{what}: expect an object")
    return {_snake(key): each for key, each in value.items() if each is not None}


def _array(fields: Mapping[str, Any], name: str) -> list[object]:
    value = fields.get(name, [])
    if not isinstance(value, list):
        raise UndecodableRequest(f"{name}: expect [ or null")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise UndecodableRequest(f"{name}: expect a string")
    return value


def _tail(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:11])
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise UndecodableRequest("tail: expect an unsigned 32-bit number")
    return value


def _after(value: object) -> int | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(_text(value, "after"))
        if moment.tzinfo is not None and "T" in str(value):
            return round(moment.timestamp() * 1_000_000) * 1_000
    except ValueError:
        pass
    raise UndecodableRequest("after: expect an RFC 3339 time")


def _snake(key: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", key) if len(key) <= _LONGEST else key


def _identifiers_of(value: object) -> dict[str, Any]:
    """Return the known part of one element, with its keys in snake case."""
    found: dict[str, Any] = {}
    for key, content in _object(value, "identifiers").items():
        if key in _KINDS:
            found[key] = _content_of(key, content)
    if len(found) > 1:
        raise UndecodableRequest(f"identifiers: only one of {' and '.join(found)}")
    return found


def _content_of(key: str, value: object) -> dict[str, Any]:
    fields = _object(value, key)
    kept: dict[str, Any] = {}
    for name in _FIELDS[key]:
        if name not in fields:
            continue
        if name == "application_ids":
            kept[name] = _content_of(name, fields[name])
            continue
        kept[name] = text = _text(fields[name], name)
        digits = _EUI.get(name)
        if digits is not None and not re.fullmatch(f"[0-9A-Fa-f]{{{digits}}}", text):
            raise UndecodableRequest(f"{name}: expect {digits} hexadecimal digits")
    return kept


def _plain(message: pb.EntityIdentifiers) -> dict[str, Any]:
    """Return identifiers of a message as JSON would have them."""
    key = message.WhichOneof("ids")
    return {} if key is None else {key: _plain_content(getattr(message, key))}


def _plain_content(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        if isinstance(value, bytes):
            found[descriptor.name] = value.hex().upper()
        else:
            found[descriptor.name] = value if isinstance(value, str) else _plain_content(value)
    return found


# ---- validation ------------------------------------------------------------------------------


@contextmanager
def _within(name: str, message: str) -> Iterator[None]:
    """Report an error in a field as the cause of an error of the message that holds the field."""
    try:
        yield
    except StatusError as exc:
        raise StatusError(validation(name, _EMBEDDED, message, exc.details)) from None


def _entity_of(identifiers: Mapping[str, Any], number: int) -> Entity:
    """Check the syntax of one element."""
    with _within(f"identifiers[{number}]", "StreamEventsRequest"):
        if not identifiers:
            raise StatusError(validation("ids", _REQUIRED, "EntityIdentifiers"))
        ((key, content),) = identifiers.items()
        with _within(key, "EntityIdentifiers"):
            return _checked(key, content)


def _checked(key: str, content: Mapping[str, Any]) -> Entity:
    message = f"{_KINDS[key]}Identifiers"
    name = _FIELDS[key][0]
    identifier = _checked_id(content.get(name, ""), name, message)
    kind = name.removesuffix("_id")
    if key != "device_ids":
        return Entity(kind, identifier)
    if "application_ids" not in content:
        raise StatusError(validation("application_ids", _REQUIRED, message))
    with _within("application_ids", message):
        application = _checked("application_ids", content["application_ids"])
    return Entity(kind, identifier, application.id)


def _checked_id(text: str, name: str, message: str) -> str:
    pattern = _USER_ID if name == "user_id" else _ID
    reason = ""
    if len(text) > _LONGEST:
        reason = f"value length must be at most {_LONGEST} runes"
    elif not re.fullmatch(pattern, text):
        reason = f'value does not match regex pattern "{pattern}"'
    if reason:
        raise StatusError(validation(name, reason, message))
    return text
