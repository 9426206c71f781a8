"""
The bodies that clients send: read leniently, checked completely.

Unknown fields are ignored, since Span's clients send more than we use. ``null`` and absent fields
leave a thing as it is; int64 come as text or as numbers. Every wrong field is reported, with its path.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
)

from span_events import ids
from span_events.errors import InvalidRequest
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices import DeviceChange
from span_events.fleet.gateways import GatewayChange
from span_events.fleet.images import ImageChange
from span_events.pki.issuing import KeyType
from span_events.registry.directory import BUILT_IN, canonical_address
from span_events.registry.limits import MAX_ENTRIES, MAX_KEY, MAX_VALUE
from span_events.registry.model import GatewayType, Management, Psk
from span_events.web.problems import Fault, InvalidBody
from span_events.wire import imei as hardware

IDENTITY_OCTETS: Final = range(1, 129)
"""Length of a PSK identity; stacks must take 128 (RFC 4279 section 5.3)."""
KEY_OCTETS: Final = range(16, 65)
"""Length of a PSK; stacks must take 64, and fewer than 16 can be guessed."""

VERSION_OCTETS: Final = range(1, 256)
"""Length of a version: a device reports it in a field of one length octet."""
MAX_FILENAME: Final = 255
"""Characters of the name of an image's file."""

_IMSI_DIGITS: Final = range(5, 16)
_NOT_OWN: Final = (GatewayType.UNKNOWN, *BUILT_IN)
_SHOWN: Final = 48
_MAX_FAULTS: Final = 20
_STORED_IDS: Final = 1 << 63
"""Ids that the registry holds are below this; ours are by construction."""


B = TypeVar("B", bound="Body")


def _wrong(text: str) -> ValueError:
    """Make what pydantic takes for a refusal."""
    return ValueError(text)


def _digits(lengths: range) -> BeforeValidator:
    """Read an int64 that is a number of this many digits; "", "0" and null are no number."""

    def read(value: object) -> str:
        if value is None or value in ("", "0") or (value == 0 and type(value) is int):
            return ""
        text = str(value) if type(value) is int else value
        if not isinstance(text, str) or not (text.isascii() and text.isdigit()) or len(text) not in lengths:
            raise _wrong(f"{_seen(value)} is not {lengths[0]} to {lengths[-1]} digits")
        return text

    return BeforeValidator(read)


def _check_imei(digits: str | None) -> str | None:
    """Make sure that the check digit of an IMEI is right; of 14 and 16 digits, none is a check digit."""
    if digits and len(digits) == len(right := hardware.canonical(digits)) and digits != right:
        raise _wrong(f"{_seen(digits)} is not an IMEI: with its other digits, the last one would be {right[-1]}")
    return digits


def _identifier(what: str) -> BeforeValidator:
    """Read an id; "" and null leave it as it is, "0" is the id of nothing."""
    return BeforeValidator(_id_reader(what))


def _id_reader(what: str) -> Callable[[object], int | None]:
    def read(value: object) -> int | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise _wrong(f"{_seen(value)} is not text, and an id is text in base 24")
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
        raise _wrong(f"{_seen(value)} has {octets} octets, not {VERSION_OCTETS[0]} to {VERSION_OCTETS[-1]}")
    if not value.isprintable() or value.strip() != value:
        raise _wrong(f"{_seen(value)} is not what a device would report: it has control characters or spaces around it")
    return value


def _filename(value: str) -> str:
    if len(value) > MAX_FILENAME:
        raise _wrong(f"has {len(value)} characters, at most {MAX_FILENAME}")
    return value


def _address(value: object) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise _wrong(f"{_seen(value)} is not text")
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
        raise _wrong(f"{_seen(value)} is not one of {', '.join(Management)}") from None


def _gateway_type(value: object) -> GatewayType | None:
    """Read the type of a gateway of one's own; none, and one that says nothing, leave it as it is."""
    if value is None or value in ("", GatewayType.UNKNOWN):
        return None
    own = [each.value for each in GatewayType if each not in _NOT_OWN]
    if value not in own:
        raise _wrong(f"{_seen(value)} is not one of {', '.join(own)}")
    return GatewayType(str(value))


def _labels(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_ENTRIES:
        raise _wrong(f"{len(value)} entries, at most {MAX_ENTRIES}")
    for name, text in value.items():
        if not 1 <= len(name) <= MAX_KEY:
            raise _wrong(f"the name {_seen(name)} has {len(name)} characters, not 1 to {MAX_KEY}")
        if len(text) > MAX_VALUE:
            raise _wrong(f"{name}: the value has {len(text)} characters, at most {MAX_VALUE}")
    return value


def _name(value: str) -> str:
    if len(value) > MAX_VALUE:
        raise _wrong(f"has {len(value)} characters, at most {MAX_VALUE}")
    return value


def _octets(value: object, what: str) -> bytes:
    if not isinstance(value, str):
        raise _wrong(f"{_seen(value)} is not text, and {what} is base64 (RFC 4648 section 4)")
    try:
        return b64decode(value, validate=True)
    except ValueError as exc:
        raise _wrong(f"{_seen(value)} is not base64 (RFC 4648 section 4): {exc}") from exc


def _in_base64(what: str) -> BeforeValidator:
    """Read octets."""
    return BeforeValidator(lambda value: _octets(value, what))


def _psk_identity(value: object) -> bytes:
    identity = _octets(value, "an identity")
    if len(identity) not in IDENTITY_OCTETS:
        raise _wrong(f"has {len(identity)} octets, not {IDENTITY_OCTETS[0]} to {IDENTITY_OCTETS[-1]}")
    if 0 in identity:
        raise _wrong(f"has a NUL (octet {identity.index(0)}), at which stacks written in C end it")
    return identity


def _psk_key(value: object) -> bytes:
    """Read a key; what is wrong with it is said without showing any of it."""
    try:
        key = b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:
        raise _wrong("is not base64 (RFC 4648 section 4)") from None
    if len(key) not in KEY_OCTETS:
        raise _wrong(f"has {len(key)} octets, not {KEY_OCTETS[0]} to {KEY_OCTETS[-1]}")
    return key


def _key_type(value: object) -> KeyType:
    if value is None or value == "":
        return KeyType.EC
    try:
        return KeyType(str(value))
    except ValueError:
        raise _wrong(f"{_seen(value)} is not one of {', '.join(KeyType)}") from None


Imsi = Annotated[str | None, _digits(_IMSI_DIGITS)]
Imei = Annotated[str | None, _digits(hardware.DIGITS), AfterValidator(_check_imei)]
CollectionId = Annotated[int | None, _identifier("collection")]
TeamId = Annotated[int | None, _identifier("team")]
TargetId = Annotated[int | None, BeforeValidator(_target)]
Version = Annotated[StrictStr, AfterValidator(_version)]
Filename = Annotated[StrictStr, AfterValidator(_filename)]
OwnerDeviceId = Annotated[int | None, _identifier("device")]
OwnerGatewayId = Annotated[int | None, _identifier("gateway")]
GatewayId = Annotated[int, BeforeValidator(_gateway_id)]
Address = Annotated[str | None, BeforeValidator(_address)]
Labels = Annotated[dict[StrictStr, StrictStr], AfterValidator(_labels)]
Name = Annotated[StrictStr, AfterValidator(_name)]
Payload = Annotated[bytes, _in_base64("a payload")]


class Body(BaseModel):
    """A JSON object from a client."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class CiotConfigBody(Body):
    """``config.ciot``."""

    imsi: Imsi = None
    imei: Imei = None


class GatewayBlockBody(Body):
    """``config.gateway.ID``; one without parameters is to be removed."""

    params: Labels | None = None


class DeviceConfigBody(Body):
    """``config`` of a device."""

    ciot: CiotConfigBody | None = None
    gateway: dict[GatewayId, GatewayBlockBody | None] | None = None


class CiotMetadataBody(Body):
    """``metadata.ciot``; only what may be set by hand."""

    allocated_ip: Address = Field(default=None, alias="allocatedIp")
    static_ip: Address = Field(default=None, alias="staticIp")


class MetadataBody(Body):
    """``metadata`` of a device."""

    ciot: CiotMetadataBody | None = None


class TargetBody(Body):
    """``firmware`` of a device."""

    target_firmware_id: TargetId = Field(default=None, alias="targetFirmwareId")


class DeviceBody(Body):
    """A device to be made or changed."""

    collection_id: CollectionId = Field(default=None, alias="collectionId")
    tags: Labels | None = None
    enabled: StrictBool | None = None
    config: DeviceConfigBody | None = None
    firmware: TargetBody | None = None
    metadata: MetadataBody | None = None

    def change(self) -> DeviceChange:
        """Return what is to be done."""
        config = self.config or DeviceConfigBody()
        ciot = config.ciot or CiotConfigBody()
        reported = (self.metadata and self.metadata.ciot) or CiotMetadataBody()
        return DeviceChange(
            collection_id=self.collection_id,
            tags=self.tags,
            enabled=self.enabled,
            imsi=ciot.imsi,
            imei=ciot.imei,
            gateways={each: (block and block.params) or {} for each, block in (config.gateway or {}).items()},
            allocated_ip=reported.allocated_ip,
            static_ip=reported.static_ip,
            target_firmware_id=self.firmware.target_firmware_id if self.firmware else None,
        )


class CollectionFirmwareBody(Body):
    """``firmware`` of a collection."""

    current_firmware_id: TargetId = Field(default=None, alias="currentFirmwareId")
    target_firmware_id: TargetId = Field(default=None, alias="targetFirmwareId")
    management: Annotated[Management | None, BeforeValidator(_management)] = None


class CollectionBody(Body):
    """A collection to be made or changed."""

    team_id: TeamId = Field(default=None, alias="teamId")
    tags: Labels | None = None
    enabled: StrictBool | None = None
    firmware: CollectionFirmwareBody | None = None

    def change(self) -> CollectionChange:
        """Return what is to be done."""
        firmware = self.firmware or CollectionFirmwareBody()
        return CollectionChange(
            team_id=self.team_id,
            tags=self.tags,
            enabled=self.enabled,
            management=firmware.management,
            current_firmware_id=firmware.current_firmware_id,
            target_firmware_id=firmware.target_firmware_id,
        )


class UserConfigBody(Body):
    """``config.user`` of a gateway."""

    params: Labels | None = None


class GatewayConfigBody(Body):
    """``config`` of a gateway."""

    user: UserConfigBody | None = None


class GatewayBody(Body):
    """A gateway to be made or changed."""

    collection_id: CollectionId = Field(default=None, alias="collectionId")
    name: Name | None = None
    type: Annotated[GatewayType | None, BeforeValidator(_gateway_type)] = None
    config: GatewayConfigBody | None = None
    tags: Labels | None = None
    enabled: StrictBool | None = None

    def change(self) -> GatewayChange:
        """Return what is to be done."""
        return GatewayChange(
            collection_id=self.collection_id,
            name=self.name,
            type=self.type,
            params=self.config.user.params if self.config and self.config.user else None,
            tags=self.tags,
            enabled=self.enabled,
        )


class NewImageBody(Body):
    """A firmware image to be made; its octets have been read already, and this is what was around them."""

    image: StrictStr
    version: Version
    filename: Filename | None = None
    tags: Labels | None = None


class ImageBody(Body):
    """A firmware image to be changed."""

    collection_id: CollectionId = Field(default=None, alias="collectionId")
    version: Annotated[Version | None, BeforeValidator(lambda value: value or None)] = None
    tags: Labels | None = None
    enabled: StrictBool | None = None

    def change(self) -> ImageChange:
        """Return what is to be done."""
        return ImageChange(collection_id=self.collection_id, version=self.version, tags=self.tags, enabled=self.enabled)


class MessageBody(Body):
    """A downstream message to be queued."""

    payload: Payload


class OwnerBody(Body):
    """Whose certificate it is about: a device's or a gateway's."""

    device_id: OwnerDeviceId = Field(default=None, alias="deviceId")
    gateway_id: OwnerGatewayId = Field(default=None, alias="gatewayId")


class NewCertificateBody(OwnerBody):
    """A key and a certificate to be made."""

    key_type: Annotated[KeyType, BeforeValidator(_key_type)] = Field(default=KeyType.EC, alias="keyType")


class SigningRequestBody(OwnerBody):
    """A certificate to be made for a key that its owner has."""

    csr: Annotated[bytes, _in_base64("a signing request")]


class VerificationBody(OwnerBody):
    """A certificate to be looked at."""

    certificate: Annotated[bytes, _in_base64("a certificate")]


class PskBody(Body):
    """A pre-shared key for a device."""

    identity: Annotated[bytes, BeforeValidator(_psk_identity)]
    key: Annotated[bytes, BeforeValidator(_psk_key)] = Field(repr=False)

    def psk(self) -> Psk:
        """Return it as the registry has it."""
        return Psk(self.identity, self.key)


async def read_body(request: web.Request, kind: type[B]) -> B:
    """
    Read the body of a request; raises what `parse_body` raises.

    Raises:
        aiohttp.web.HTTPRequestEntityTooLarge: It is over ``http.max_body``.
    """
    return parse_body(await request.read(), kind)


def parse_body(octets: bytes, kind: type[B]) -> B:
    """
    Read a body; an empty one is an empty object.

    Raises:
        InvalidRequest: It is not a JSON object; the message says where it stops being one.
        InvalidBody: Fields are wrong; all of them are named.
    """
    try:
        value = orjson.loads(octets or b"{}")
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The body is not JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})") from exc
    if not isinstance(value, dict):
        raise InvalidRequest(f"The body is {_seen(value)}; a JSON object is wanted")
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
    return Fault(path, _WORDS.get(error["type"], error["msg"]).replace("{seen}", _seen(error["input"])))


def _seen(value: object) -> str:
    """Quote what came, at a length that is pleasant to read."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:  # orjson reads deeper than this writes
        return "a deeply nested value"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
