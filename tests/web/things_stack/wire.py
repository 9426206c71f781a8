"""
The Things Stack's protobuf messages of events, written from the tables of its fields alone, and a gRPC client for them.

Nothing of the project's protocol definition is used: names and numbers stand here again, in a pool of their own.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import grpc
import grpc.aio
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, struct_pb2, timestamp_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.bench.waiting import PATIENCE

PACKAGE: Final = "ttn.lorawan.v3"
FIELD: Final = descriptor_pb2.FieldDescriptorProto
KNOWN: Final = {
    "Any": any_pb2.DESCRIPTOR,
    "Struct": struct_pb2.DESCRIPTOR,
    "Value": struct_pb2.DESCRIPTOR,
    "Timestamp": timestamp_pb2.DESCRIPTOR,
}
RIGHTS: Final = {
    "right_invalid": 0,
    "RIGHT_APPLICATION_INFO": 15,
    "RIGHT_APPLICATION_DEVICES_READ": 20,
    "RIGHT_APPLICATION_TRAFFIC_READ": 24,
    "RIGHT_APPLICATION_LINK": 27,
    "RIGHT_APPLICATION_ALL": 28,
    "RIGHT_GATEWAY_INFO": 30,
    "RIGHT_GATEWAY_TRAFFIC_READ": 35,
    "RIGHT_GATEWAY_LINK": 37,
    "RIGHT_GATEWAY_STATUS_READ": 38,
    "RIGHT_GATEWAY_ALL": 40,
    "RIGHT_ALL": 55,
}
MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "StreamEventsRequest": {
        "identifiers": (1, "*EntityIdentifiers"),
        "tail": (2, "uint32"),
        "after": (3, "Timestamp"),
        "names": (4, "*string"),
    },
    "FindRelatedEventsRequest": {"correlation_id": (1, "string")},
    "FindRelatedEventsResponse": {"events": (1, "*Event")},
    "Event": {
        "name": (1, "string"),
        "time": (2, "Timestamp"),
        "identifiers": (3, "*EntityIdentifiers"),
        "data": (4, "Any"),
        "correlation_ids": (5, "*string"),
        "origin": (6, "string"),
        "visibility": (8, "Rights"),
        "remote_ip": (10, "string"),
        "user_agent": (11, "string"),
        "unique_id": (12, "string"),
    },
    "Rights": {"rights": (1, "*Right")},
    "EntityIdentifiers": {
        "application_ids": (1, "ApplicationIdentifiers"),
        "client_ids": (2, "ClientIdentifiers"),
        "device_ids": (3, "EndDeviceIdentifiers"),
        "gateway_ids": (4, "GatewayIdentifiers"),
        "organization_ids": (5, "OrganizationIdentifiers"),
        "user_ids": (6, "UserIdentifiers"),
    },
    "ApplicationIdentifiers": {"application_id": (1, "string")},
    "ClientIdentifiers": {"client_id": (1, "string")},
    "EndDeviceIdentifiers": {
        "device_id": (1, "string"),
        "application_ids": (2, "ApplicationIdentifiers"),
        "dev_eui": (4, "bytes"),
        "join_eui": (5, "bytes"),
        "dev_addr": (6, "bytes"),
    },
    "GatewayIdentifiers": {"gateway_id": (1, "string"), "eui": (2, "bytes")},
    "OrganizationIdentifiers": {"organization_id": (1, "string")},
    "UserIdentifiers": {"user_id": (1, "string"), "email": (2, "string")},
    "ErrorDetails": {
        "namespace": (1, "string"),
        "name": (2, "string"),
        "message_format": (3, "string"),
        "attributes": (4, "Struct"),
        "correlation_id": (5, "string"),
        "cause": (6, "ErrorDetails"),
        "code": (7, "uint32"),
        "details": (8, "*Any"),
    },
    "Status": {"code": (1, "int32"), "message": (2, "string"), "details": (3, "*Any")},
}
"""Fields with numbers and types; ``*`` marks a repeated one."""
_SCALARS: Final = {
    "string": FIELD.TYPE_STRING,
    "bytes": FIELD.TYPE_BYTES,
    "uint32": FIELD.TYPE_UINT32,
    "int32": FIELD.TYPE_INT32,
}


def _set_type(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    elif kind == "Right":
        field.type, field.type_name = FIELD.TYPE_ENUM, f".{PACKAGE}.Right"
    else:
        package = "google.protobuf" if kind in KNOWN else PACKAGE
        field.type, field.type_name = FIELD.TYPE_MESSAGE, f".{package}.{kind}"


def _pool() -> Any:
    pool: Any = descriptor_pool.DescriptorPool()
    for known in {each.name: each for each in KNOWN.values()}.values():
        pool.AddSerializedFile(known.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="events.proto", package=PACKAGE, syntax="proto3")
    file.dependency.extend(sorted({each.name for each in KNOWN.values()}))
    right = file.enum_type.add(name="Right")
    for name, number in RIGHTS.items():
        right.value.add(name=name, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        one_of = name == "EntityIdentifiers"
        if one_of:
            message.oneof_decl.add(name="ids")
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number)
            added.label = FIELD.LABEL_REPEATED if kind.startswith("*") else FIELD.LABEL_OPTIONAL
            _set_type(added, kind.lstrip("*"))
            if one_of:
                added.oneof_index = 0
    pool.Add(file)
    return pool


POOL: Final = _pool()


def message_of(name: str) -> type[Any]:
    """Return the class of a message."""
    package = "google.protobuf" if name in KNOWN else PACKAGE
    return GetMessageClass(POOL.FindMessageTypeByName(f"{package}.{name}"))


def unpacked(holder: Message) -> Any:
    """Decode an ``Any``."""
    type_url = str(holder.type_url)  # type: ignore[attr-defined]
    prefix, _, name = type_url.partition("/")
    assert prefix == "type.googleapis.com"
    assert name in (f"{PACKAGE}.ErrorDetails", "google.protobuf.Value"), "clients lose events of other types"
    return message_of(name.rpartition(".")[2]).FromString(holder.value)  # type: ignore[attr-defined]


class Refused(Exception):
    """A call ended with a status other than OK."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(error.details())
        self.code = error.code()
        self.text = error.details() or ""
        self.trailers = dict(error.trailing_metadata() or ())

    @property
    def details(self) -> Any:
        """The details of the error, having checked the status that holds them."""
        status = message_of("Status").FromString(self.trailers["grpc-status-details-bin"])
        assert status.code == self.code.value[0]
        assert status.message == self.text
        (details,) = status.details
        return unpacked(details)


class Stream:
    """A call of Stream."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def next(self) -> Any:
        """Wait for an event."""
        try:
            event = await self.call.read()
        except grpc.aio.AioRpcError as exc:
            raise Refused(exc) from None
        assert event is not grpc.aio.EOF, "the stream ended"
        return event

    async def until(self, name: str) -> Any:
        """Wait for an event with a name."""
        while (event := await self.next()).name != name:
            pass
        return event


class Client:
    """
    A client of the service.

    Args:
        address: ``host:port``.
        token: Sent with the scheme in lower case, as the original's command line does; None for none.
    """

    def __init__(
        self,
        address: str,
        token: str | None,
        *,
        root: bytes | None = None,
        name: str = "",
    ) -> None:
        options: list[tuple[str, Any]] = [("grpc.ssl_target_name_override", name)] if name else []
        options += [("grpc.use_local_subchannel_pool", 1)]
        self._metadata = () if token is None else (("authorization", f"bearer {token}"),)
        if root is None:
            self.channel = grpc.aio.insecure_channel(address, options)
        else:
            self.channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(root), options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.channel.close()

    def stream(self, *identifiers: dict[str, Any], **fields: Any) -> Stream:
        """Follow entities, named as in JSON."""
        request = message_of("StreamEventsRequest")(identifiers=identifiers, **fields)
        call = self.channel.unary_stream(
            f"/{PACKAGE}.Events/Stream",
            request_serializer=_octets,
            response_deserializer=message_of("Event").FromString,
        )
        return Stream(call(request, metadata=self._metadata, timeout=PATIENCE))

    async def related(self, correlation_id: str) -> list[Any]:
        """Find the events of a correlation id."""
        request = message_of("FindRelatedEventsRequest")(correlation_id=correlation_id)
        call = self.channel.unary_unary(
            f"/{PACKAGE}.Events/FindRelated",
            request_serializer=_octets,
            response_deserializer=message_of("FindRelatedEventsResponse").FromString,
        )
        try:
            return list((await call(request, metadata=self._metadata, timeout=PATIENCE)).events)
        except grpc.aio.AioRpcError as exc:
            raise Refused(exc) from None


def _octets(message: Message) -> bytes:
    return message.SerializeToString()
