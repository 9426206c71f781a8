"""
Field types of request bodies: read leniently (int64 as text or as number), checked completely.

Each has the JSON schema of its usual spelling, for ``GET /openapi.json``.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, StrictStr, WithJsonSchema

from span_events import ids
from span_events.errors import InvalidRequest
from span_events.pki.issuing import KeyType
from span_events.registry.directory import BUILT_IN, canonical_address
from span_events.registry.limits import MAX_ENTRIES, MAX_KEY, MAX_VALUE
from span_events.registry.model import GatewayType, Management
from span_events.wire import imei as hardware

IDENTITY_OCTETS: Final = range(1, 129)
"""Length of a PSK identity; stacks must take 128 (RFC 4279 section 5.3)."""
KEY_OCTETS: Final = range(16, 65)
"""Length of a PSK; stacks must take 64, and fewer than 16 can be guessed."""

VERSION_OCTETS: Final = range(1, 256)
"""Length of a version: a device reports it in a field of one length octet."""
MAX_FILENAME: Final = 255
"""Characters of the name of an image's file."""

_IMSI_DIGITS: Final = range(6, 16)
"""Least digits of an IMSI: country and network take five, the subscriber follows (ITU-T E.212)."""
_NOT_OWN: Final = (GatewayType.UNKNOWN, *BUILT_IN)
_SHOWN: Final = 48
_STORED_IDS: Final = 1 << 63
"""Ids that the registry holds are below this; ours are by construction."""


def seen(value: object) -> str:
    """Quote a received value, shortened for a message."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:  # orjson reads deeper than this writes
        return "a deeply nested value"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _wrong(text: str) -> ValueError:
    """Build the error by which pydantic reports a refusal."""
    return ValueError(text)


def _digits(lengths: range) -> BeforeValidator:
    """Read an int64 that is a number of this many digits; "", "0" and null are no number."""

    def read(value: object) -> str:
        if value is None or value in ("", "0") or (value == 0 and type(value) is int):
            return ""
        text = str(value) if type(value) is int else value
        if not isinstance(text, str) or not (text.isascii() and text.isdigit()) or len(text) not in lengths:
            raise _wrong(f"{seen(value)} is not {lengths[0]} to {lengths[-1]} digits")
        return text

    return BeforeValidator(read)


def _check_imei(digits: str | None) -> str | None:
    """Make sure that the check digit of an IMEI is right; of 14 and 16 digits, none is a check digit."""
    if digits and len(digits) == len(right := hardware.canonical(digits)) and digits != right:
        raise _wrong(f"{seen(digits)} is not an IMEI: with its other digits, the last one would be {right[-1]}")
    return digits


def _identifier(what: str) -> BeforeValidator:
    """Read an id; "" and null leave it as it is, "0" is the id of nothing."""
    return BeforeValidator(_id_reader(what))


def _id_reader(what: str) -> Callable[[object], int | None]:
    def read(value: object) -> int | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise _wrong(f"{seen(value)} is not text, and an id is text in base 24")
        try:
            found = ids.parse(value, what=what)
        except InvalidRequest as exc:
            raise _wrong(exc.detail) from exc
        if found >= _STORED_IDS:
            raise _wrong(f"{value!r} is not the id of any {what}: it is over 63 bits")
        return found

    return read


_read_image_id: Final = _id_reader("firmware image")


def _target(value: object) -> int | None:
    """Read the id of an image that something refers to; "" and "0" are none, null leaves it as it is."""
    return 0 if value == "" else _read_image_id(value)


def _version(value: str) -> str:
    octets = len(value.encode(errors="replace"))
    if octets not in VERSION_OCTETS:
        raise _wrong(f"{seen(value)} has {octets} octets, not {VERSION_OCTETS[0]} to {VERSION_OCTETS[-1]}")
    if not value.isprintable() or value.strip() != value:
        raise _wrong(f"{seen(value)} is not what a device would report: it has control characters or spaces around it")
    return value


def _text(longest: int) -> AfterValidator:
    """Check the length of a text, and that every database can store it."""

    def check(value: str) -> str:
        if len(value) > longest:
            raise _wrong(f"has {len(value)} characters, at most {longest}")
        if "\0" in value:
            raise _wrong(f"{seen(value)} has the character NUL, which PostgreSQL cannot store")
        return value

    return AfterValidator(check)


def _address(value: object) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise _wrong(f"{seen(value)} is not text")
    try:
        return canonical_address(value, field="")
    except InvalidRequest as exc:
        raise _wrong(exc.detail.removeprefix(": ")) from exc


def _gateway_id(value: object) -> int:
    try:
        return ids.parse(str(value), what="gateway")
    except InvalidRequest as exc:
        raise _wrong(exc.detail) from exc


def _management(value: object) -> Management | None:
    if value is None or value in ("", Management.UNSPECIFIED):
        return None
    try:
        return Management(str(value))
    except ValueError:
        raise _wrong(f"{seen(value)} is not one of {', '.join(Management)}") from None


def _gateway_type(value: object) -> GatewayType | None:
    """Read the type of a custom gateway; None and ``unknown`` keep the present type."""
    if value is None or value in ("", GatewayType.UNKNOWN):
        return None
    own = [each.value for each in GatewayType if each not in _NOT_OWN]
    if value not in own:
        raise _wrong(f"{seen(value)} is not one of {', '.join(own)}")
    return GatewayType(str(value))


def _labels(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_ENTRIES:
        raise _wrong(f"{len(value)} entries, at most {MAX_ENTRIES}")
    for name, text in value.items():
        if not 1 <= len(name) <= MAX_KEY:
            raise _wrong(f"the name {seen(name)} has {len(name)} characters, not 1 to {MAX_KEY}")
        if len(text) > MAX_VALUE:
            raise _wrong(f"{name}: the value has {len(text)} characters, at most {MAX_VALUE}")
    return value


def _octets(value: object, what: str) -> bytes:
    if not isinstance(value, str):
        raise _wrong(f"{seen(value)} is not text, and {what} is base64 (RFC 4648 section 4)")
    try:
        return b64decode(value, validate=True)
    except ValueError as exc:
        raise _wrong(f"{seen(value)} is not base64 (RFC 4648 section 4): {exc}") from exc


def _in_base64(what: str) -> BeforeValidator:
    """Read octets."""
    return BeforeValidator(lambda value: _octets(value, what))


def _psk_identity(value: object) -> bytes:
    identity = _octets(value, "an identity")
    if len(identity) not in IDENTITY_OCTETS:
        raise _wrong(f"has {len(identity)} octets, not {IDENTITY_OCTETS[0]} to {IDENTITY_OCTETS[-1]}")
    return identity


def _psk_key(value: object) -> bytes:
    """Read a key; the message of a refusal shows no part of it."""
    try:
        key = b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:
        raise _wrong("is not base64 (RFC 4648 section 4)") from None
    if len(key) not in KEY_OCTETS:
        raise _wrong(f"has {len(key)} octets, not {KEY_OCTETS[0]} to {KEY_OCTETS[-1]}")
    return key


def _secret(value: object) -> str:
    """Read what may be a secret; the message of a refusal shows no part of it."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong("is not text")
    if len(value) > MAX_VALUE:
        raise _wrong(f"has {len(value)} characters, at most {MAX_VALUE}")
    return value


def _key_type(value: object) -> KeyType:
    if value is None or value == "":
        return KeyType.EC
    try:
        return KeyType(str(value))
    except ValueError:
        raise _wrong(f"{seen(value)} is not one of {', '.join(KeyType)}") from None


def _spelt(description: str, **schema: object) -> WithJsonSchema:
    """Return the JSON schema of a text."""
    return WithJsonSchema({"type": "string", "description": description, **schema})


def _id_of(what: str) -> WithJsonSchema:
    return _spelt(f"Identifier of a {what}, base 24.", pattern=f"^[{ids.ALPHABET}]{{0,14}}$")


def _base64_of(what: str) -> WithJsonSchema:
    return _spelt(f"{what}, base64 (RFC 4648 section 4).", contentEncoding="base64")


def _one_of(description: str, words: Iterable[str]) -> WithJsonSchema:
    return _spelt(description, enum=[str(each) for each in words])


_LABELS: Final = WithJsonSchema(
    {
        "type": "object",
        "description": "Names with values; PATCH merges tags into the present ones.",
        "additionalProperties": {"type": "string", "maxLength": MAX_VALUE},
        "propertyNames": {"minLength": 1, "maxLength": MAX_KEY},
        "maxProperties": MAX_ENTRIES,
    }
)
_IMSI: Final = _spelt("IMSI; empty for none.", pattern="^([0-9]{6,15})?$")
_IMEI: Final = _spelt("IMEI; empty for any.", pattern="^([0-9]{14,16})?$")

Imsi = Annotated[str | None, _digits(_IMSI_DIGITS), _IMSI]
Imei = Annotated[str | None, _digits(hardware.DIGITS), AfterValidator(_check_imei), _IMEI]
CollectionId = Annotated[int | None, _identifier("collection"), _id_of("collection")]
TeamId = Annotated[int | None, _identifier("team"), _id_of("team")]
TargetId = Annotated[int | None, BeforeValidator(_target), _id_of("firmware image")]
Version = Annotated[StrictStr, AfterValidator(_version), _spelt("Version.", minLength=1, maxLength=VERSION_OCTETS[-1])]
Filename = Annotated[StrictStr, _text(MAX_FILENAME), _spelt("Name of the file.", maxLength=MAX_FILENAME)]
OwnerDeviceId = Annotated[int | None, _identifier("device"), _id_of("device")]
OwnerGatewayId = Annotated[int | None, _identifier("gateway"), _id_of("gateway")]
GatewayId = Annotated[int, BeforeValidator(_gateway_id), _id_of("gateway")]
Address = Annotated[str | None, BeforeValidator(_address), _spelt("IP address; empty for none.")]
Labels = Annotated[dict[StrictStr, StrictStr], AfterValidator(_labels), _LABELS]
Name = Annotated[StrictStr, _text(MAX_VALUE), _spelt("Name.", maxLength=MAX_VALUE)]
Base64Text = Annotated[StrictStr, _base64_of("Octets of the image")]
Payload = Annotated[bytes, _in_base64("a payload"), _base64_of("Payload")]
SigningRequest = Annotated[bytes, _in_base64("a signing request"), _base64_of("PKCS #10 signing request in PEM")]
Certificate = Annotated[bytes, _in_base64("a certificate"), _base64_of("Certificate in PEM")]
PskIdentity = Annotated[bytes, BeforeValidator(_psk_identity), _base64_of("Identity")]
PskKey = Annotated[bytes, BeforeValidator(_psk_key), _base64_of("Key of 16 to 64 octets")]
KeyKind = Annotated[KeyType, BeforeValidator(_key_type), _one_of("Kind of the key.", KeyType)]
ManagedBy = Annotated[
    Management | None, BeforeValidator(_management), _one_of("Where the target of a device is set.", Management)
]
OwnGatewayType = Annotated[
    GatewayType | None,
    BeforeValidator(_gateway_type),
    _one_of("Type of the gateway.", (each for each in GatewayType if each not in _NOT_OWN)),
]
Secret = Annotated[str, BeforeValidator(_secret), _spelt("Text.", maxLength=MAX_VALUE)]
"""Account names, too: people type passwords there."""
