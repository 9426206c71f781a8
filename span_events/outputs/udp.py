"""UDP: a datagram per message or event."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence

from span_events.events.message import Message
from span_events.events.reasons import OutputReason
from span_events.fleet.outputs.health import Failure
from span_events.net import render_remote
from span_events.outputs.base import DeliveryFailed, Item, unreachable
from span_events.outputs.content import Content
from span_events.outputs.targets import Targets
from span_events.registry.outputs import OutputConfig


class Udp:
    """
    Sends datagrams to a host and port: the payload of a message as it is, or JSON if a format is set.

    UDP has no acknowledgements: a failure is known only if the target's computer reports a closed port.
    """

    batch = 1

    def __init__(self, config: OutputConfig, content: Content, targets: Targets) -> None:
        self.target = render_remote((config.host, config.port))
        self._config = config
        self._content = content
        self._targets = targets
        self._socket: socket.socket | None = None

    async def send(self, items: Sequence[Item]) -> int:
        """Send one datagram."""
        (item,) = items
        is_raw = isinstance(item, Message) and not self._config.format
        octets = item.payload if is_raw and isinstance(item, Message) else self._content.encode(item)
        try:
            connected = self._socket or await self._connect()
            await asyncio.get_running_loop().sock_sendall(connected, octets)
        except OSError as exc:
            await self.close()  # the name may have another address by now
            if exc.errno == errno.EMSGSIZE:
                failure = Failure(OutputReason.TOO_LARGE, f"{len(octets)} octets")
                raise DeliveryFailed(failure, answered=True, final=True) from exc
            raise unreachable(exc) from exc
        return len(octets)

    async def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _connect(self) -> socket.socket:
        config = self._config
        found = await self._targets.resolve(config.host, config.port, kind=socket.SOCK_DGRAM)
        family, address = found[0]
        connected = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            connected.connect(address)
        except OSError:
            connected.close()
            raise
        self._socket = connected
        return connected
