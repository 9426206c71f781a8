"""
Plain UDP: one datagram is one upstream message, and a waiting message goes back to its sender.

There is no framing and no acknowledgement. The device is whoever has the source address.
"""

from __future__ import annotations

from span_events.config import DatagramsConfig
from span_events.events.catalogue import DownstreamFailedReason
from span_events.events.message import Transport
from span_events.fleet.devices import Devices, Remote, render_remote
from span_events.fleet.downstream import Outbox
from span_events.listeners.udp import UdpSocket
from span_events.registry.model import Device


class Datagrams:
    """The listener for plain datagrams."""

    name = "datagrams"

    def __init__(self, config: DatagramsConfig, *, devices: Devices, outbox: Outbox) -> None:
        self._devices = devices
        self._outbox = outbox
        self._local_port = 0
        self._socket = UdpSocket(
            self.name, config.host, config.port, receive_buffer=config.receive_buffer, receive=self._receive
        )

    @property
    def address(self) -> str:
        """What is bound, ``host:port``."""
        return render_remote(self._socket.address)

    @property
    def received(self) -> int:
        """Datagrams taken from the kernel."""
        return self._socket.received

    @property
    def defects(self) -> int:
        """Datagrams whose handling failed by a fault of ours."""
        return self._socket.defects

    async def start(self) -> None:
        """Bind; raises `ListenerUnavailable`."""
        self._socket.open()
        self._local_port = self._socket.address[1]

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._socket.run()

    async def stop(self) -> None:
        """Release the socket; idempotent."""
        self._socket.close()

    def _receive(self, datagram: bytes, remote: Remote) -> None:
        devices = self._devices
        device = devices.identify(remote, transport=Transport.UDP, size=len(datagram))
        if device is None or devices.admit(device, remote, transport=Transport.UDP, size=len(datagram)):
            return
        message_id = devices.received(
            device, datagram, remote=remote, transport=Transport.UDP, local_port=self._local_port
        )
        if message_id is not None:
            self._answer(device, remote, message_id)

    def _answer(self, device: Device, remote: Remote, cause: int) -> None:
        """Send the message that waits longest, if there is one."""
        waiting = self._outbox.next_for(device)
        if waiting is None:
            return
        try:
            self._socket.send(waiting.payload, remote)
        except BlockingIOError:
            return  # it goes on waiting
        except OSError as exc:
            detail = exc.strerror or str(exc)
            self._outbox.failed(device, waiting, DownstreamFailedReason.SEND_ERROR, detail=detail, cause=cause)
        else:
            self._outbox.sent(device, waiting, transport=Transport.UDP, cause=cause)
