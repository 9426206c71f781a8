"""
Request bodies: their fields and checks.

A field of Span's documents that a client cannot set is ignored, since clients send back what they read; any
other field is ignored with a warning. ``null`` and absent fields keep the present value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from span_events import ids
from span_events.errors import InvalidRequest
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.firmware.images import ImageChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.pki.issuing import KeyType
from span_events.registry.model import Psk
from span_events.web.rest.bodies.fields import (
    Address,
    Base64Text,
    Certificate,
    CollectionId,
    Filename,
    GatewayId,
    Imei,
    Imsi,
    KeyKind,
    Labels,
    ManagedBy,
    Name,
    OwnerDeviceId,
    OwnerGatewayId,
    OwnGatewayType,
    Payload,
    PskIdentity,
    PskKey,
    Secret,
    SigningRequest,
    TargetId,
    TeamId,
    Version,
)


class Body(BaseModel):
    """A JSON object from a client."""

    model_config = ConfigDict(extra="allow", frozen=True)

    READ_ONLY: ClassVar[frozenset[str]] = frozenset()
    """Fields of Span's document, and ids of the path, that a client cannot set."""

    @classmethod
    def fields(cls) -> list[str]:
        """List the names of the fields that a client can set, as JSON has them."""
        return [each.alias or name for name, each in cls.model_fields.items()]

    def unknown(self, path: str = "") -> Iterator[tuple[str, list[str]]]:
        """Yield the path of each field that there is not, and the names of those that there are in its place."""
        for name in self.model_extra or ():
            if name not in self.READ_ONLY:
                yield path + name, self.fields()
        for name, field in type(self).model_fields.items():
            value, inner = getattr(self, name), f"{path}{field.alias or name}."
            if isinstance(value, Body):
                yield from value.unknown(inner)
            elif isinstance(value, dict):
                for key, each in value.items():
                    if isinstance(each, Body):
                        yield from each.unknown(f"{inner}{ids.render(key)}.")


class CiotConfigBody(Body):
    """``config.ciot``."""

    imsi: Imsi = None
    imei: Imei = None


class GatewayBlockBody(Body):
    """``config.gateway.ID``; one without parameters is to be removed."""

    gateway_id: OwnerGatewayId = Field(default=None, alias="gatewayId")
    params: Labels | None = None


class DeviceConfigBody(Body):
    """``config`` of a device; its ``inet`` is always empty."""

    READ_ONLY = frozenset({"inet"})

    ciot: CiotConfigBody | None = None
    gateway: dict[GatewayId, GatewayBlockBody | None] | None = None


class CiotMetadataBody(Body):
    """``metadata.ciot``."""

    READ_ONLY = frozenset(
        {
            *("gatewayId", "allocatedAt", "cellId", "mcc", "mnc", "country", "network", "countryCode"),
            *("lastUpdate", "lastImsi", "lastImei", "allocatedPrefix"),
        }
    )

    allocated_ip: Address = Field(default=None, alias="allocatedIp")
    static_ip: Address = Field(default=None, alias="staticIp")


class MetadataBody(Body):
    """``metadata`` of a device."""

    READ_ONLY = frozenset({"inet", "gateway"})

    ciot: CiotMetadataBody | None = None


class TargetBody(Body):
    """``firmware`` of a device."""

    READ_ONLY = frozenset(
        {
            *("currentFirmwareId", "firmwareVersion", "serialNumber", "modelNumber", "manufacturer"),
            *("state", "stateMessage", "block", "blockSize", "percent"),
        }
    )

    target_firmware_id: TargetId = Field(default=None, alias="targetFirmwareId")


class DeviceBody(Body):
    """A device to be made or changed."""

    READ_ONLY = frozenset({"deviceId", "lastGatewayId", "lastTransport", "lastReceived", "lastPayload"})

    collection_id: CollectionId = Field(default=None, alias="collectionId")
    tags: Labels | None = None
    enabled: StrictBool | None = None
    config: DeviceConfigBody | None = None
    firmware: TargetBody | None = None
    metadata: MetadataBody | None = None

    def change(self) -> DeviceChange:
        """Return the change that the body requests."""
        config = self.config or DeviceConfigBody()
        ciot = config.ciot or CiotConfigBody()
        reported = (self.metadata and self.metadata.ciot) or CiotMetadataBody()
        for each, block in (config.gateway or {}).items():
            if block and block.gateway_id not in (None, each):
                field = f"config.gateway.{ids.render(each)}.gatewayId"
                raise InvalidRequest(f"{field}: it is the block of another gateway", field=field)
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
    management: ManagedBy = None


class CollectionBody(Body):
    """A collection to be made or changed."""

    READ_ONLY = frozenset({"collectionId", "upstreamTimestamps", "downstreamTimestamps"})

    team_id: TeamId = Field(default=None, alias="teamId")
    tags: Labels | None = None
    enabled: StrictBool | None = None
    firmware: CollectionFirmwareBody | None = None

    def change(self) -> CollectionChange:
        """Return the change that the body requests."""
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

    READ_ONLY = frozenset({"ciot", "inet"})

    user: UserConfigBody | None = None
    cust: UserConfigBody | None = None
    """The same, as older documents of Span call it."""


class GatewayBody(Body):
    """A gateway to be made or changed."""

    READ_ONLY = frozenset({"gatewayId", "builtIn", "status", "metadata"})

    collection_id: CollectionId = Field(default=None, alias="collectionId")
    name: Name | None = None
    type: OwnGatewayType = None
    config: GatewayConfigBody | None = None
    tags: Labels | None = None
    enabled: StrictBool | None = None

    def change(self) -> GatewayChange:
        """Return the change that the body requests."""
        config = self.config or GatewayConfigBody()
        user = config.user or config.cust
        return GatewayChange(
            collection_id=self.collection_id,
            name=self.name,
            type=self.type,
            params=user.params if user else None,
            tags=self.tags,
            enabled=self.enabled,
        )


class NewImageBody(Body):
    """A new firmware image: the fields beside its octets, which are read separately."""

    READ_ONLY = frozenset({"imageId", "collectionId", "sha256", "length", "created", "enabled"})

    image: Base64Text
    version: Version
    filename: Filename | None = None
    tags: Labels | None = None


class ImageBody(Body):
    """A firmware image to be changed."""

    READ_ONLY = frozenset({"imageId", "filename", "sha256", "length", "created"})

    collection_id: CollectionId = Field(default=None, alias="collectionId")
    version: Annotated[Version | None, BeforeValidator(lambda value: value or None)] = None
    tags: Labels | None = None
    enabled: StrictBool | None = None

    def change(self) -> ImageChange:
        """Return the change that the body requests."""
        return ImageChange(collection_id=self.collection_id, version=self.version, tags=self.tags, enabled=self.enabled)


class MessageBody(Body):
    """A downstream message to be queued."""

    READ_ONLY = frozenset(
        {
            *("messageId", "collectionId", "deviceId", "gatewayId"),
            *("createdTime", "sentTime", "transport", "state"),
        }
    )

    payload: Payload


class OwnerBody(Body):
    """Owner of a certificate: a device or a gateway."""

    READ_ONLY = frozenset({"collectionId"})

    device_id: OwnerDeviceId = Field(default=None, alias="deviceId")
    gateway_id: OwnerGatewayId = Field(default=None, alias="gatewayId")


class NewCertificateBody(OwnerBody):
    """A key and a certificate to be made."""

    key_type: KeyKind = Field(default=KeyType.EC, alias="keyType")


class SigningRequestBody(OwnerBody):
    """A certificate to be made for a key that its owner has."""

    csr: SigningRequest


class VerificationBody(OwnerBody):
    """A certificate to be looked at."""

    certificate: Certificate


class PskBody(Body):
    """A pre-shared key for a device."""

    READ_ONLY = frozenset({"deviceId"})

    identity: PskIdentity
    key: PskKey = Field(repr=False)

    def psk(self) -> Psk:
        """Return it as the registry has it."""
        return Psk(self.identity, self.key)


class LoginBody(Body):
    """A login, as Span's clients send it."""

    email: Secret = ""
    password: Secret = Field("", repr=False)
    passcode: Secret = Field("", repr=False)
    """Of a second factor, which this server does not ask for."""
