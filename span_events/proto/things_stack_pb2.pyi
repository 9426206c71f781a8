import datetime

from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Right(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    right_invalid: _ClassVar[Right]
    RIGHT_APPLICATION_INFO: _ClassVar[Right]
    RIGHT_APPLICATION_DEVICES_READ: _ClassVar[Right]
    RIGHT_APPLICATION_TRAFFIC_READ: _ClassVar[Right]
    RIGHT_APPLICATION_LINK: _ClassVar[Right]
    RIGHT_APPLICATION_ALL: _ClassVar[Right]
    RIGHT_GATEWAY_INFO: _ClassVar[Right]
    RIGHT_GATEWAY_TRAFFIC_READ: _ClassVar[Right]
    RIGHT_GATEWAY_LINK: _ClassVar[Right]
    RIGHT_GATEWAY_STATUS_READ: _ClassVar[Right]
    RIGHT_GATEWAY_ALL: _ClassVar[Right]
    RIGHT_ALL: _ClassVar[Right]
right_invalid: Right
RIGHT_APPLICATION_INFO: Right
RIGHT_APPLICATION_DEVICES_READ: Right
RIGHT_APPLICATION_TRAFFIC_READ: Right
RIGHT_APPLICATION_LINK: Right
RIGHT_APPLICATION_ALL: Right
RIGHT_GATEWAY_INFO: Right
RIGHT_GATEWAY_TRAFFIC_READ: Right
RIGHT_GATEWAY_LINK: Right
RIGHT_GATEWAY_STATUS_READ: Right
RIGHT_GATEWAY_ALL: Right
RIGHT_ALL: Right

class StreamEventsRequest(_message.Message):
    __slots__ = ("identifiers", "tail", "after", "names")
    IDENTIFIERS_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    identifiers: _containers.RepeatedCompositeFieldContainer[EntityIdentifiers]
    tail: int
    after: _timestamp_pb2.Timestamp
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, identifiers: _Optional[_Iterable[_Union[EntityIdentifiers, _Mapping]]] = ..., tail: _Optional[int] = ..., after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class FindRelatedEventsRequest(_message.Message):
    __slots__ = ("correlation_id",)
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    correlation_id: str
    def __init__(self, correlation_id: _Optional[str] = ...) -> None: ...

class FindRelatedEventsResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("name", "time", "identifiers", "data", "correlation_ids", "origin", "context", "visibility", "authentication", "remote_ip", "user_agent", "unique_id")
    class Authentication(_message.Message):
        __slots__ = ("type", "token_type", "token_id")
        TYPE_FIELD_NUMBER: _ClassVar[int]
        TOKEN_TYPE_FIELD_NUMBER: _ClassVar[int]
        TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
        type: str
        token_type: str
        token_id: str
        def __init__(self, type: _Optional[str] = ..., token_type: _Optional[str] = ..., token_id: _Optional[str] = ...) -> None: ...
    class ContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIERS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_IDS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_FIELD_NUMBER: _ClassVar[int]
    REMOTE_IP_FIELD_NUMBER: _ClassVar[int]
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    time: _timestamp_pb2.Timestamp
    identifiers: _containers.RepeatedCompositeFieldContainer[EntityIdentifiers]
    data: _any_pb2.Any
    correlation_ids: _containers.RepeatedScalarFieldContainer[str]
    origin: str
    context: _containers.ScalarMap[str, bytes]
    visibility: Rights
    authentication: Event.Authentication
    remote_ip: str
    user_agent: str
    unique_id: str
    def __init__(self, name: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., identifiers: _Optional[_Iterable[_Union[EntityIdentifiers, _Mapping]]] = ..., data: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., correlation_ids: _Optional[_Iterable[str]] = ..., origin: _Optional[str] = ..., context: _Optional[_Mapping[str, bytes]] = ..., visibility: _Optional[_Union[Rights, _Mapping]] = ..., authentication: _Optional[_Union[Event.Authentication, _Mapping]] = ..., remote_ip: _Optional[str] = ..., user_agent: _Optional[str] = ..., unique_id: _Optional[str] = ...) -> None: ...

class Rights(_message.Message):
    __slots__ = ("rights",)
    RIGHTS_FIELD_NUMBER: _ClassVar[int]
    rights: _containers.RepeatedScalarFieldContainer[Right]
    def __init__(self, rights: _Optional[_Iterable[_Union[Right, str]]] = ...) -> None: ...

class EntityIdentifiers(_message.Message):
    __slots__ = ("application_ids", "client_ids", "device_ids", "gateway_ids", "organization_ids", "user_ids")
    APPLICATION_IDS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_IDS_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_IDS_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_IDS_FIELD_NUMBER: _ClassVar[int]
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    application_ids: ApplicationIdentifiers
    client_ids: ClientIdentifiers
    device_ids: EndDeviceIdentifiers
    gateway_ids: GatewayIdentifiers
    organization_ids: OrganizationIdentifiers
    user_ids: UserIdentifiers
    def __init__(self, application_ids: _Optional[_Union[ApplicationIdentifiers, _Mapping]] = ..., client_ids: _Optional[_Union[ClientIdentifiers, _Mapping]] = ..., device_ids: _Optional[_Union[EndDeviceIdentifiers, _Mapping]] = ..., gateway_ids: _Optional[_Union[GatewayIdentifiers, _Mapping]] = ..., organization_ids: _Optional[_Union[OrganizationIdentifiers, _Mapping]] = ..., user_ids: _Optional[_Union[UserIdentifiers, _Mapping]] = ...) -> None: ...

class ApplicationIdentifiers(_message.Message):
    __slots__ = ("application_id",)
    APPLICATION_ID_FIELD_NUMBER: _ClassVar[int]
    application_id: str
    def __init__(self, application_id: _Optional[str] = ...) -> None: ...

class ClientIdentifiers(_message.Message):
    __slots__ = ("client_id",)
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    def __init__(self, client_id: _Optional[str] = ...) -> None: ...

class EndDeviceIdentifiers(_message.Message):
    __slots__ = ("device_id", "application_ids", "dev_eui", "join_eui", "dev_addr")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_IDS_FIELD_NUMBER: _ClassVar[int]
    DEV_EUI_FIELD_NUMBER: _ClassVar[int]
    JOIN_EUI_FIELD_NUMBER: _ClassVar[int]
    DEV_ADDR_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    application_ids: ApplicationIdentifiers
    dev_eui: bytes
    join_eui: bytes
    dev_addr: bytes
    def __init__(self, device_id: _Optional[str] = ..., application_ids: _Optional[_Union[ApplicationIdentifiers, _Mapping]] = ..., dev_eui: _Optional[bytes] = ..., join_eui: _Optional[bytes] = ..., dev_addr: _Optional[bytes] = ...) -> None: ...

class GatewayIdentifiers(_message.Message):
    __slots__ = ("gateway_id", "eui")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    EUI_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    eui: bytes
    def __init__(self, gateway_id: _Optional[str] = ..., eui: _Optional[bytes] = ...) -> None: ...

class OrganizationIdentifiers(_message.Message):
    __slots__ = ("organization_id",)
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    organization_id: str
    def __init__(self, organization_id: _Optional[str] = ...) -> None: ...

class UserIdentifiers(_message.Message):
    __slots__ = ("user_id", "email")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    email: str
    def __init__(self, user_id: _Optional[str] = ..., email: _Optional[str] = ...) -> None: ...

class ErrorDetails(_message.Message):
    __slots__ = ("namespace", "name", "message_format", "attributes", "correlation_id", "cause", "code", "details")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    message_format: str
    attributes: _struct_pb2.Struct
    correlation_id: str
    cause: ErrorDetails
    code: int
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., message_format: _Optional[str] = ..., attributes: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., correlation_id: _Optional[str] = ..., cause: _Optional[_Union[ErrorDetails, _Mapping]] = ..., code: _Optional[int] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...

class RpcStatus(_message.Message):
    __slots__ = ("code", "message", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    details: _containers.RepeatedCompositeFieldContainer[_any_pb2.Any]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., details: _Optional[_Iterable[_Union[_any_pb2.Any, _Mapping]]] = ...) -> None: ...
