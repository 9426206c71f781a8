"""
The listener for datagrams, plain or over DTLS on one port: a datagram is one upstream message.

There is no framing and no acknowledgement. A waiting downstream message is sent back for each upstream message, unless
the octets look like another protocol: its client would not understand the message, and the message would be lost.
Without DTLS, the source address identifies the device. A datagram that consists of whole DTLS records goes to DTLS; one
that begins with an encrypted record, but was cut, is rejected.
"""

from __future__ import annotations

from span_events.config import DatagramsConfig
from span_events.events.marks import Mark
from span_events.events.message import Transport
from span_events.events.reasons import DownstreamFailedReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.listeners.base import UdpListener
from span_events.listeners.dtls.server import DtlsContext, DtlsServer
from span_events.listeners.dtls.session import DtlsSession
from span_events.listeners.ports import Ports
from span_events.listeners.udp import UdpSocket
from span_events.metrics import Metric
from span_events.net import Remote
from span_events.registry.model import Device, Downstream
from span_events.wire.dtls.records import FIRST_OCTETS as RECORDS
from span_events.wire.recognition import FIRST_OCTETS


class Datagrams(UdpListener):
    """
    The listener for datagrams.

    Args:
        secure: The shared parts of DTLS; without them, all datagrams are plain.
        ports: Ports of the other protocols, for messages that look like one.
    """

    name = "datagrams"

    def __init__(
        self,
        config: DatagramsConfig,
        *,
        reception: Reception,
        outbox: Outbox,
        secure: DtlsContext | None = None,
        ports: Ports | None = None,
    ) -> None:
        super().__init__(
            UdpSocket(self.name, config.host, config.port, receive_buffer=config.receive_buffer, receive=self._receive)
        )
        self._reception = reception
        self._outbox = outbox
        self._secure = secure
        self._ports = ports or Ports()
        self._local_port = 0
        self.dtls: DtlsServer | None = None
        """The DTLS server; only after `start`."""

    def metrics(self) -> list[Metric]:
        """Return the metrics."""
        return [
            Metric("datagrams_defects", "Defects: a datagram's handling failed.", "counter", lambda: self.defects),
        ]

    async def start(self) -> None:
        """Bind the socket; raises `ListenerUnavailable`."""
        await super().start()
        self._local_port = self._socket.address[1]
        if self._secure is not None:
            self.dtls = self._secure.serve(
                Transport.DTLS, send=self._socket.send, deliver=self._take_secure, ended=_nothing
            )

    async def stop(self) -> None:
        """End the sessions and release the socket; idempotent."""
        if self.dtls is not None:
            self.dtls.stop()
        await super().stop()

    def _receive(self, datagram: bytes, remote: Remote) -> None:
        first = datagram[:1]
        if first in RECORDS and self.dtls is not None and self.dtls.takes(datagram, remote):
            return
        mark = self._ports.mark(datagram) if first in FIRST_OCTETS else None
        found = self._reception.device_at(remote[0])
        if isinstance(found, Device):
            self._take(found, datagram, remote, Transport.UDP, None, mark)
        else:
            self._reception.hold_or_reject(found, datagram, remote, self._receive, transport=Transport.UDP, mark=mark)

    def _take_secure(self, session: DtlsSession, payload: bytes) -> None:
        mark = self._ports.mark(payload, secure=True) if payload[:1] in FIRST_OCTETS else None
        self._take(session.fleet.device, payload, session.remote, Transport.DTLS, session, mark)

    def _take(
        self,
        device: Device,
        payload: bytes,
        remote: Remote,
        transport: Transport,
        session: DtlsSession | None,
        mark: Mark | None,
    ) -> None:
        if self._reception.admit(device, remote, transport=transport, size=len(payload)):
            return
        message_id = self._reception.received(
            device,
            payload,
            remote=remote,
            transport=transport,
            local_port=self._local_port,
            session=None if session is None else session.fleet,
            mark=mark,
        )
        if message_id is not None and mark is None:
            self._answer(device, remote, transport, session, message_id)

    def _answer(
        self, device: Device, remote: Remote, transport: Transport, session: DtlsSession | None, cause: int
    ) -> None:
        """Send the oldest waiting downstream message, if there is one."""
        waiting = self._outbox.next_over(device, transport)
        if waiting is not None:
            self._outbox.claimed(waiting, lambda: self._transmit(device, remote, transport, session, waiting, cause))

    def _transmit(
        self,
        device: Device,
        remote: Remote,
        transport: Transport,
        session: DtlsSession | None,
        waiting: Downstream,
        cause: int,
    ) -> None:
        """Send a downstream message, and report that it was sent, or why not; the claim may have taken seconds."""
        is_there = self._reception.is_at(device, remote) if session is None else not session.is_over
        if not is_there:
            return  # the message stays in the outbox
        try:
            if session is None:
                self._socket.send(waiting.payload, remote)
            else:
                session.send(waiting.payload)
        except BlockingIOError:
            return  # the message stays in the outbox
        except OSError as exc:
            detail = exc.strerror or str(exc)
            self._outbox.failed(device, waiting, DownstreamFailedReason.SEND_ERROR, detail=detail, cause=cause)
        else:
            self._outbox.sent(device, waiting, transport=transport, cause=cause)


def _nothing(_session: DtlsSession) -> None:
    """Do nothing: this listener keeps no state of a session."""
