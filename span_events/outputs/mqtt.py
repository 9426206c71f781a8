"""MQTT: publishes messages or events to an existing broker, with QoS 1 (MQTT 3.1.1)."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Final

from span_events.errors import MalformedMessage
from span_events.events.reasons import OutputReason
from span_events.fleet.outputs.health import Failure
from span_events.net import Broker, broker_of
from span_events.outputs.base import DeliveryFailed, Item, unreachable
from span_events.outputs.content import Content
from span_events.outputs.targets import Targets
from span_events.outputs.templates import fill, values_of
from span_events.registry.outputs import OutputConfig
from span_events.wire.mqtt import publishing

_TOPIC: Final = "{{ collection.collectionId }}/{{ device.deviceId }}"
"""Topic of Span's own broker."""
_NOT_IN_TOPICS: Final = str.maketrans(dict.fromkeys("+#\0", "_"))
_IN_FLIGHT: Final = 10
"""Publications that wait for their acknowledgement at a time."""
_REPLY: Final = 4
"""Octets of CONNACK and PUBACK."""
_CLOSED: Final = (
    "the broker closed the connection instead of acknowledging: its log says which topic or size it refuses"
)


class Mqtt:
    """A client of a broker, which connects when there is something to publish."""

    batch = _IN_FLIGHT

    def __init__(self, config: OutputConfig, content: Content, targets: Targets) -> None:
        self._broker = broker_of(config.endpoint)
        self.target = str(self._broker)
        self._config = config
        self._content = content
        self._targets = targets
        self._topic = b64decode(config.topic_template).decode() or config.topic_name
        self._payload = b64decode(config.payload_template).decode()
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, items: Sequence[Item]) -> int:
        """Publish items, and wait for their acknowledgements."""
        packets = [self._packet(each, number) for number, each in enumerate(items, 1)]
        is_publishing = False  # over a connection that the broker has just accepted
        try:
            if self._connection is not None and _has_ended(*self._connection):
                await self.close()  # the broker was restarted
            is_new = self._connection is None
            reader, writer = self._connection or await self._connect(self._broker)
            is_publishing = is_new
            writer.writelines(packets)
            await writer.drain()
            waiting = set(range(1, len(packets) + 1))
            while waiting:
                waiting.discard(publishing.reply(await reader.readexactly(_REPLY))[1])
        except BaseException as exc:
            await self.close()
            if isinstance(exc, ssl.SSLError):
                raise DeliveryFailed(Failure(OutputReason.TLS_FAILED, str(exc))) from exc
            if is_publishing and isinstance(exc, asyncio.IncompleteReadError | ConnectionError):
                raise DeliveryFailed(Failure(OutputReason.TARGET_FAILED, _CLOSED), answered=True) from exc
            if isinstance(exc, asyncio.IncompleteReadError):
                failure = Failure(OutputReason.UNREACHABLE, "the broker closed the connection")
                raise DeliveryFailed(failure) from exc
            if isinstance(exc, MalformedMessage):
                raise DeliveryFailed(Failure(OutputReason.TARGET_FAILED, str(exc))) from exc
            if isinstance(exc, OSError):
                raise unreachable(exc) from exc
            raise
        return sum(map(len, packets))

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            writer = connection[1]
            if not writer.is_closing():  # uvloop refuses to write to a connection that was reset
                writer.write(publishing.DISCONNECT)
            writer.close()

    def _packet(self, item: Item, packet_id: int) -> bytes:
        encoded = self._content.encode(item)
        if (event := self._content.translated(item)) is not None:
            return publishing.publication(event.topic, encoded, packet_id)
        values = values_of(encoded, is_activity=self._content.is_activity)
        topic = (fill(self._topic, values) or fill(_TOPIC, values)).translate(_NOT_IN_TOPICS)
        payload = fill(self._payload, values).encode() if self._payload else encoded
        return publishing.publication(topic[: publishing.MAX_TEXT // 4], payload, packet_id)

    async def _connect(self, broker: Broker) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        config = self._config
        found = await self._targets.resolve(broker.host, broker.port)
        reader, writer = self._connection = await self._open(broker, [str(address[0]) for _, address in found])
        writer.write(publishing.connect(config.client_id, config.username, config.password))
        _, code = publishing.reply(await reader.readexactly(_REPLY))
        if code:
            raise DeliveryFailed(Failure(OutputReason.REFUSED, publishing.REFUSALS.get(code, ""), code))
        return reader, writer

    async def _open(self, broker: Broker, addresses: list[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first address that accepts."""
        context = _context(verify=not self._config.disable_cert_check) if broker.tls else None
        name = broker.host if context else None
        for address in addresses[:-1]:
            with suppress(OSError):
                return await asyncio.open_connection(address, broker.port, ssl=context, server_hostname=name)
        return await asyncio.open_connection(addresses[-1], broker.port, ssl=context, server_hostname=name)


def _has_ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    return reader.at_eof() or writer.is_closing()


@cache
def _context(*, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
