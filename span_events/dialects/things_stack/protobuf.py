"""The Things Stack's protobuf of an event and of an error: the same content as its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from span_events import ids
from span_events.dialects import span
from span_events.dialects.things_stack.errors import ERROR_DETAILS, ErrorDetails
from span_events.dialects.things_stack.event import (
    VALUE,
    correlation_ids,
    entities_at,
    entities_of,
    failure_of,
    is_shared,
    rights_of,
)
from span_events.dialects.things_stack.rules import Rule, rule_of
from span_events.events.activity import Activity, Origin
from span_events.events.catalogue import DeviceMoved
from span_events.proto import things_stack_pb2 as pb


@dataclass(frozen=True, slots=True)
class ProtobufDialect:
    """
    The protobuf of events.

    Args:
        host: Name of the host that publishes the events.
    """

    host: str

    def encode(self, activity: Activity) -> bytes:
        """Write an activity as the octets of `message`, from parts that repeat: protobuf fields may be joined."""
        event = activity.event
        origin = event.origin
        rule = rule_of(event)
        head, end = _ends(self.host, rule, is_shared(event, rule))
        seconds, nanos = divmod(activity.time_ns, 1_000_000_000)
        if isinstance(event, DeviceMoved):
            entities = pb.Event(identifiers=map(_identifiers_of, entities_of(event, rule))).SerializeToString()
        else:
            entities = _entities(origin.collection_id, origin.device_id, origin.gateway_id, rule.of_gateway)
        if rule.code is not None:
            failure = details_of(failure_of(event, rule.code)).SerializeToString(deterministic=True)
            data = _field(_DATA, _ERROR_TYPE + _field(_ANY_VALUE, failure))
        elif values := span.data_of(event):
            data = _field(_DATA, _VALUE_TYPE + _field(_ANY_VALUE, _field(_STRUCT_VALUE, _struct_octets(values))))
        else:
            data = b""
        return b"".join(
            (
                head,
                _field(_TIME, Timestamp(seconds=seconds, nanos=nanos).SerializeToString()),
                entities,
                data,
                *[_field(_CORRELATION_ID, each.encode()) for each in correlation_ids(activity)],
                end,
                _field(_UNIQUE_ID, ids.to_ulid(activity.id).encode()),
            )
        )

    def message(self, activity: Activity, *, redacted: bool = False) -> pb.Event:
        """
        Return an activity as an ``Event``.

        Args:
            redacted: Leave out data and correlation ids.
        """
        event = activity.event
        rule = rule_of(event)
        found = pb.Event(name=rule.name, origin=self.host, unique_id=ids.to_ulid(activity.id))
        found.time.FromNanoseconds(activity.time_ns)
        if isinstance(event, DeviceMoved):
            found.identifiers.extend(_identifiers_of(each) for each in entities_of(event, rule))
        else:
            found.identifiers.extend(_identifiers(event.origin, rule.of_gateway))
        if not redacted:
            if rule.code is not None:
                _pack(found, ERROR_DETAILS, details_of(failure_of(event, rule.code)))
            elif data := span.data_of(event):
                _pack(found, VALUE, Value(struct_value=_struct(data)))
            found.correlation_ids.extend(correlation_ids(activity))
        if rights := rights_of(rule, shared=is_shared(event, rule)):
            found.visibility.rights.extend(_rights(rights))
        return found

    def start(
        self,
        identifier: int,
        time_ns: int,
        *,
        identifiers: Sequence[pb.EntityIdentifiers],
        names: Sequence[str] | None,
        request_id: str,
    ) -> bytes:
        """
        Write the event that begins a stream.

        Args:
            names: The resolved filter; None if the request has no filter.
        """
        found = pb.Event(name="events.stream.start", origin=self.host, unique_id=ids.to_ulid(identifier))
        found.time.FromNanoseconds(time_ns)
        found.identifiers.extend(identifiers)
        if names is not None:
            value = Value()
            value.list_value.extend(names)
            _pack(found, VALUE, value)
        found.correlation_ids.append(f"rpc:/ttn.lorawan.v3.Events/Stream:{request_id}")
        return found.SerializeToString()


# ---- octets ----------------------------------------------------------------------------------

_TIME: Final = b"\x12"
_DATA: Final = b"\x22"
_CORRELATION_ID: Final = b"\x2a"
_UNIQUE_ID: Final = b"\x62"
"""Tags of an Event's fields: number and wire type (https://protobuf.dev/programming-guides/encoding/)."""
_ANY_VALUE: Final = b"\x12"
_STRUCT_VALUE: Final = b"\x2a"
_ENTRY: Final = b"\x0a"
_ENTRY_VALUE: Final = b"\x12"
_STRING_VALUE: Final = b"\x1a"
"""Tags of Any, Value, Struct, its entries, and Value again."""
_LENGTHS: Final = tuple(bytes((length,)) for length in range(128))


def _field(tag: bytes, content: bytes) -> bytes:
    """Write a field of a variable length."""
    length = len(content)
    if length < 128:
        return tag + _LENGTHS[length] + content
    octets = bytearray(tag)
    while length > 127:
        octets.append(length & 127 | 128)
        length >>= 7
    octets.append(length)
    return bytes(octets + content)


def _struct_octets(values: Mapping[str, str]) -> bytes:
    """Write a Struct of texts."""
    return b"".join(
        _field(_ENTRY, _key(key) + _field(_ENTRY_VALUE, _field(_STRING_VALUE, value.encode())))
        for key, value in values.items()
    )


@lru_cache(maxsize=1024)
def _key(key: str) -> bytes:
    return _field(_ENTRY, key.encode())


@lru_cache(maxsize=65536)
def _entities(collection: int | None, device: int | None, gateway: int | None, of_gateway: bool) -> bytes:
    """Write the field ``identifiers``; numbers are cheaper keys than origins."""
    return pb.Event(identifiers=_identifiers(Origin(collection, device, gateway), of_gateway)).SerializeToString()


@lru_cache(maxsize=256)
def _ends(host: str, rule: Rule, shared: bool) -> tuple[bytes, bytes]:
    """Write the fields before the time, and those between the correlation ids and ``unique_id``."""
    event = pb.Event(origin=host)
    if rights := rights_of(rule, shared=shared):
        event.visibility.rights.extend(_rights(rights))
    return pb.Event(name=rule.name).SerializeToString(), event.SerializeToString()


_ERROR_TYPE: Final = _field(_ENTRY, ERROR_DETAILS.encode())
_VALUE_TYPE: Final = _field(_ENTRY, VALUE.encode())


# ---- messages --------------------------------------------------------------------------------


def details_of(error: ErrorDetails) -> pb.ErrorDetails:
    """Return an error as a message."""
    found = pb.ErrorDetails(
        namespace=error.namespace,
        name=error.name,
        message_format=error.message_format,
        correlation_id=error.correlation_id,
        code=error.code,
    )
    if error.attributes:
        found.attributes.CopyFrom(_struct(error.attributes))
    if error.cause is not None:
        found.cause.CopyFrom(details_of(error.cause))
    return found


def status_of(error: ErrorDetails) -> bytes:
    """Write an error as google.rpc.Status, the content of ``grpc-status-details-bin``."""
    found = pb.RpcStatus(code=error.code, message=error.message)
    found.details.add(type_url=ERROR_DETAILS, value=details_of(error).SerializeToString(deterministic=True))
    return found.SerializeToString()


def _pack(event: pb.Event, type_url: str, message: Message) -> None:
    event.data.type_url = type_url
    event.data.value = message.SerializeToString(deterministic=True)


def _struct(values: Mapping[str, str]) -> Struct:
    return Struct(fields={key: Value(string_value=value) for key, value in values.items()})


@lru_cache(maxsize=8192)
def _identifiers(origin: Origin, of_gateway: bool) -> tuple[pb.EntityIdentifiers, ...]:
    return tuple(_identifiers_of(each) for each in entities_at(origin, of_gateway=of_gateway))


def _identifiers_of(entity: Origin) -> pb.EntityIdentifiers:
    assert entity.collection_id is not None
    if entity.gateway_id is not None:
        return pb.EntityIdentifiers(gateway_ids=pb.GatewayIdentifiers(gateway_id=ids.render(entity.gateway_id)))
    application = pb.ApplicationIdentifiers(application_id=ids.render(entity.collection_id))
    if entity.device_id is None:
        return pb.EntityIdentifiers(application_ids=application)
    device = pb.EndDeviceIdentifiers(device_id=ids.render(entity.device_id), application_ids=application)
    return pb.EntityIdentifiers(device_ids=device)


@lru_cache(maxsize=64)
def _rights(names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(pb.Right.Value(each) for each in names)
