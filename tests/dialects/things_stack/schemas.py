"""
Schemas of The Things Stack's API of events, written from its published OpenAPI document, and a strict check.

Unlike the document, an object may have no other keys than the ones listed: a typing error must not pass.
"""

from __future__ import annotations

import re
from typing import Any, Final

Schema = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
TIME: Final[Schema] = {"type": "string", "pattern": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(\d{3}|\d{6}|\d{9}))?Z"}
APPLICATION: Final[Schema] = {"properties": {"application_id": STRING}}
ANY: Final[Schema] = {
    "properties": {"@type": {"type": "string", "pattern": r"type\.googleapis\.com/[\w.]+"}},
    "additional": True,
    "first": "@type",
}
RIGHT: Final[Schema] = {
    "enum": [
        "RIGHT_APPLICATION_INFO",
        "RIGHT_APPLICATION_DEVICES_READ",
        "RIGHT_APPLICATION_TRAFFIC_READ",
        "RIGHT_APPLICATION_LINK",
        "RIGHT_APPLICATION_ALL",
        "RIGHT_GATEWAY_INFO",
        "RIGHT_GATEWAY_TRAFFIC_READ",
        "RIGHT_GATEWAY_LINK",
        "RIGHT_GATEWAY_STATUS_READ",
        "RIGHT_GATEWAY_ALL",
        "RIGHT_ALL",
    ]
}
IDENTIFIERS: Final[Schema] = {
    "properties": {
        "application_ids": APPLICATION,
        "client_ids": {"properties": {"client_id": STRING}},
        "device_ids": {
            "properties": {
                "device_id": STRING,
                "application_ids": APPLICATION,
                "dev_eui": STRING,
                "join_eui": STRING,
                "dev_addr": STRING,
            }
        },
        "gateway_ids": {"properties": {"gateway_id": STRING, "eui": STRING}},
        "organization_ids": {"properties": {"organization_id": STRING}},
        "user_ids": {"properties": {"user_id": STRING, "email": STRING}},
    }
}
EVENT: Final[Schema] = {
    "properties": {
        "name": STRING,
        "time": TIME,
        "identifiers": {"items": IDENTIFIERS},
        "data": ANY,
        "correlation_ids": {"items": STRING},
        "origin": STRING,
        "context": {"properties": {}, "additional": True},
        "visibility": {"properties": {"rights": {"items": RIGHT}}},
        "authentication": {"properties": {"type": STRING, "token_type": STRING, "token_id": STRING}},
        "remote_ip": STRING,
        "user_agent": STRING,
        "unique_id": {"type": "string", "pattern": "[0-7][0-9A-HJKMNP-TV-Z]{25}"},
    },
    "required": ["name", "time", "origin", "unique_id"],
    "ordered": True,
}
STATUS: Final[Schema] = {
    "properties": {"code": {"type": "integer"}, "message": STRING, "details": {"items": ANY}},
    "required": ["code", "message"],
}
FRAME: Final[Schema] = {"properties": {"result": EVENT, "error": STATUS}}
RELATED: Final[Schema] = {"properties": {"events": {"items": EVENT}}}
ERROR_DETAILS: Final[Schema] = {
    "properties": {
        "@type": STRING,
        "namespace": STRING,
        "name": {"type": "string", "pattern": "[a-z][a-z0-9_]*|[A-Za-z]+"},
        "message_format": STRING,
        "attributes": {"properties": {}, "additional": True},
        "correlation_id": {"type": "string", "pattern": "[0-9a-f]{32}"},
        "code": {"type": "integer"},
    },
    "required": ["namespace", "name", "message_format", "code"],
    "ordered": True,
}
ERROR_DETAILS["properties"]["cause"] = ERROR_DETAILS
_TYPES: Final = {"string": str, "integer": int}


def check(value: object, schema: Schema, at: str = "$") -> None:
    """Fail at the first place where a value is not of a schema."""
    if "enum" in schema:
        assert value in schema["enum"], f"{at}: {value!r}"
    elif "items" in schema:
        assert isinstance(value, list), f"{at}: {value!r} is no array"
        assert value, f"{at}: an empty array is omitted"
        for number, each in enumerate(value):
            check(each, schema["items"], f"{at}[{number}]")
    elif "properties" in schema:
        _check_object(value, schema, at)
    else:
        assert isinstance(value, _TYPES[schema["type"]]), f"{at}: {value!r} is no {schema['type']}"
        pattern = schema.get("pattern")
        assert pattern is None or re.fullmatch(pattern, str(value)), f"{at}: {value!r} is not like {pattern}"


def _check_object(value: object, schema: Schema, at: str) -> None:
    assert isinstance(value, dict), f"{at}: {value!r} is no object"
    properties = schema["properties"]
    assert all(each is not None for each in value.values()), f"{at}: null is omitted"
    missing = [key for key in schema.get("required", ()) if key not in value]
    assert not missing, f"{at}: without {missing}"
    if not schema.get("additional"):
        unknown = [key for key in value if key not in properties]
        assert not unknown, f"{at}: {unknown} is unknown"
    if "first" in schema:
        assert next(iter(value)) == schema["first"], f"{at}: {schema['first']} is not the first key"
    if schema.get("ordered"):
        order = list(properties)
        known = [key for key in value if key in properties and key != "cause"]
        assert known == sorted(known, key=order.index), f"{at}: the keys are not in their order"
    for key, each in value.items():
        if key in properties:
            check(each, properties[key], f"{at}.{key}")
