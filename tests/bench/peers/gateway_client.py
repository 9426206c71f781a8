"""
Independent gateway, written only from Span's tables of its gRPC protocol.

The program imports nothing of this project, neither modules nor the protocol definition, and runs in a process
of its own. It trusts only servers below the root in its own certificate file. Each line of standard input is a
JSON object with the command ``do`` and its arguments. Standard output gets a JSON object for each received
message (``got``) and for the end of the stream (``ended``); payloads are text.

Usage: gateway_client.py HOST:PORT CERTIFICATE KEY [ROOTS]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

METHOD: Final = "/gateway.v1.UserGatewayService/ControlStream"
MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "ControlStreamRequest": {
        "config": (1, "ConfigRequest"),
        "upstream_message": (2, "UpstreamMessage"),
        "keepalive": (3, "Keepalive"),
        "gateway_metadata": (4, "GatewayMetadataUpdate"),
        "device_update": (5, "DeviceUpdate"),
    },
    "ConfigRequest": {},
    "UpstreamMessage": {"device_id": (1, "string"), "payload": (2, "bytes"), "metadata": (3, "map")},
    "Keepalive": {},
    "GatewayMetadataUpdate": {"metadata": (1, "map")},
    "DeviceUpdate": {"device_id": (1, "string"), "config": (2, "map"), "metadata": (3, "map")},
    "ControlStreamResponse": {
        "device_update": (1, "DeviceConfigUpdate"),
        "gateway_update": (2, "GatewayConfigUpdate"),
        "device_removed": (3, "DeviceRemoved"),
        "downstream_message": (4, "DownstreamMessage"),
        "keepalive_response": (5, "KeepaliveResponse"),
    },
    "DeviceConfigUpdate": {"device_id": (1, "string"), "config": (2, "map"), "tags": (3, "map")},
    "GatewayConfigUpdate": {"gateway_id": (1, "string"), "config": (2, "map"), "tags": (3, "map")},
    "DeviceRemoved": {"device_id": (1, "string")},
    "DownstreamMessage": {"message_id": (1, "string"), "device_id": (2, "string"), "payload": (3, "bytes")},
    "KeepaliveResponse": {},
}
"""Fields with numbers and types; ``map`` is ``map<string, string>``."""
STREAMED: Final = ("ControlStreamRequest", "ControlStreamResponse")
"""Of their fields, a message has one."""
PACKAGE: Final = "gateway.v1"
FIELD: Final = descriptor_pb2.FieldDescriptorProto


def define() -> dict[str, type[Message]]:
    """Create the classes of all messages."""
    file = descriptor_pb2.FileDescriptorProto(name="tables.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if name in STREAMED:
            message.oneof_decl.add(name="msg")
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number, label=FIELD.LABEL_OPTIONAL)
            if name in STREAMED:
                added.oneof_index = 0
            if kind == "map":
                add_map(message, added)
            elif kind in MESSAGES:
                added.type, added.type_name = FIELD.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                added.type = FIELD.TYPE_STRING if kind == "string" else FIELD.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in MESSAGES}
    return {name: GetMessageClass(each) for name, each in found.items()}


def add_map(message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto) -> None:
    """Declare a field as a map, which on the wire is a repeated message of a key and a value."""
    entry = message.nested_type.add(name=f"{field.name.title()}Entry")
    entry.options.map_entry = True
    for number, name in enumerate(("key", "value"), 1):
        entry.field.add(name=name, number=number, label=FIELD.LABEL_OPTIONAL, type=FIELD.TYPE_STRING)
    field.type, field.label = FIELD.TYPE_MESSAGE, FIELD.LABEL_REPEATED
    field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"


TYPES: Final = define()
REQUEST: Final[Any] = TYPES["ControlStreamRequest"]
RESPONSE: Final[Any] = TYPES["ControlStreamResponse"]


def request(part: str, fields: dict[str, Any]) -> Message:
    """Encode a message to the server."""
    if "payload" in fields:
        fields = fields | {"payload": fields["payload"].encode()}
    made: Message = REQUEST(**{part: TYPES[MESSAGES["ControlStreamRequest"][part][1]](**fields)})
    return made


def shown(response: Any) -> dict[str, Any]:
    """Decode a message of the server."""
    part = response.WhichOneof("msg")
    found: dict[str, Any] = {"got": part}
    for name, (_, kind) in MESSAGES[MESSAGES["ControlStreamResponse"][part][1]].items():
        value = getattr(getattr(response, part), name)
        found[name] = dict(value) if kind == "map" else value.decode() if kind == "bytes" else value
    return found


def say(**what: Any) -> None:
    """Print an incident."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Gateway:
    """One gateway and, while connected, its stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._method: Any = channel.stream_stream(
            METHOD, request_serializer=REQUEST.SerializeToString, response_deserializer=RESPONSE.FromString
        )
        self._call: Any = None
        self._reader: asyncio.Task[None] | None = None

    async def do(self, what: str, fields: dict[str, Any]) -> None:
        """Execute a command: ``connect``, ``close``, or the name of a part of ControlStreamRequest, and its fields."""
        if what == "connect":
            self._call = self._method()
            self._reader = asyncio.create_task(self._read())
            return
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # `ended` says more
            if what == "close":
                await self._call.done_writing()
            else:
                await self._call.write(request(what, fields))

    async def leave(self) -> None:
        """Drop the stream."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for response in self._call:
                say(**shown(response))
        say(ended=(await self._call.code()).name, text=await self._call.details())


def credentials_of(certificate: str, key: str, roots: str = "") -> grpc.ChannelCredentials:
    """Read the files of a gateway."""
    chain = Path(certificate).read_bytes()
    return grpc.ssl_channel_credentials(Path(roots).read_bytes() if roots else chain, Path(key).read_bytes(), chain)


async def main(target: str, credentials: grpc.ChannelCredentials) -> None:
    """Execute commands until the standard input ends."""
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with grpc.aio.secure_channel(target, credentials) as channel:
        gateway = Gateway(channel)
        while line := await commands.readline():
            fields = json.loads(line)
            await gateway.do(fields.pop("do"), fields)
        await gateway.leave()


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit("usage: gateway_client.py HOST:PORT CERTIFICATE KEY [ROOTS]")
    asyncio.run(main(sys.argv[1], credentials_of(*sys.argv[2:])))
