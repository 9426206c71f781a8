from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ControlStreamRequest(_message.Message):
    __slots__ = ("config", "upstream_message", "keepalive", "gateway_metadata", "device_update")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_METADATA_FIELD_NUMBER: _ClassVar[int]
    DEVICE_UPDATE_FIELD_NUMBER: _ClassVar[int]
    config: ConfigRequest
    upstream_message: UpstreamMessage
    keepalive: Keepalive
    gateway_metadata: GatewayMetadataUpdate
    device_update: DeviceUpdate
    def __init__(self, config: _Optional[_Union[ConfigRequest, _Mapping]] = ..., upstream_message: _Optional[_Union[UpstreamMessage, _Mapping]] = ..., keepalive: _Optional[_Union[Keepalive, _Mapping]] = ..., gateway_metadata: _Optional[_Union[GatewayMetadataUpdate, _Mapping]] = ..., device_update: _Optional[_Union[DeviceUpdate, _Mapping]] = ...) -> None: ...

class ConfigRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpstreamMessage(_message.Message):
    __slots__ = ("device_id", "payload", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    payload: bytes
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, device_id: _Optional[str] = ..., payload: _Optional[bytes] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Keepalive(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GatewayMetadataUpdate(_message.Message):
    __slots__ = ("metadata",)
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    METADATA_FIELD_NUMBER: _ClassVar[int]
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DeviceUpdate(_message.Message):
    __slots__ = ("device_id", "config", "metadata")
    class ConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    config: _containers.ScalarMap[str, str]
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, device_id: _Optional[str] = ..., config: _Optional[_Mapping[str, str]] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ControlStreamResponse(_message.Message):
    __slots__ = ("device_update", "gateway_update", "device_removed", "downstream_message", "keepalive_response")
    DEVICE_UPDATE_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_UPDATE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_REMOVED_FIELD_NUMBER: _ClassVar[int]
    DOWNSTREAM_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    device_update: DeviceConfigUpdate
    gateway_update: GatewayConfigUpdate
    device_removed: DeviceRemoved
    downstream_message: DownstreamMessage
    keepalive_response: KeepaliveResponse
    def __init__(self, device_update: _Optional[_Union[DeviceConfigUpdate, _Mapping]] = ..., gateway_update: _Optional[_Union[GatewayConfigUpdate, _Mapping]] = ..., device_removed: _Optional[_Union[DeviceRemoved, _Mapping]] = ..., downstream_message: _Optional[_Union[DownstreamMessage, _Mapping]] = ..., keepalive_response: _Optional[_Union[KeepaliveResponse, _Mapping]] = ...) -> None: ...

class DeviceConfigUpdate(_message.Message):
    __slots__ = ("device_id", "config", "tags")
    class ConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    config: _containers.ScalarMap[str, str]
    tags: _containers.ScalarMap[str, str]
    def __init__(self, device_id: _Optional[str] = ..., config: _Optional[_Mapping[str, str]] = ..., tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GatewayConfigUpdate(_message.Message):
    __slots__ = ("gateway_id", "config", "tags")
    class ConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    config: _containers.ScalarMap[str, str]
    tags: _containers.ScalarMap[str, str]
    def __init__(self, gateway_id: _Optional[str] = ..., config: _Optional[_Mapping[str, str]] = ..., tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DeviceRemoved(_message.Message):
    __slots__ = ("device_id",)
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    def __init__(self, device_id: _Optional[str] = ...) -> None: ...

class DownstreamMessage(_message.Message):
    __slots__ = ("message_id", "device_id", "payload")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    device_id: str
    payload: bytes
    def __init__(self, message_id: _Optional[str] = ..., device_id: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...

class KeepaliveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
