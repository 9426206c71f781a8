"""Publishes DTLS records that no session accepts: without a session, cut on their way, or unreadable."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from span_events.clock import Clock
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.identity import Identification
from span_events.listeners.dtls.session import NUMBER, DtlsSession
from span_events.listeners.dtls.sessions import Sessions
from span_events.net import Remote, render_remote
from span_events.registry.model import Device
from span_events.wire.dtls.records import Cut

_FIRST_EPOCH: Final = b"\0\1"
_FRESH: Final = 86_400.0
"""Seconds after its start for which the server mentions that, where it knows of no session."""


class Strays:
    """The rejections of records of one DTLS server; create it when the server starts."""

    def __init__(
        self,
        sessions: Sessions,
        transport: Transport,
        *,
        reception: Reception,
        identification: Identification,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._transport = transport
        self._reception = reception
        self._identification = identification
        self._clock = clock
        self._started = clock.monotonic()

    def without_session(self, datagram: bytes, remote: Remote) -> None:
        """
        Publish application data of no session.

        It belongs to the device whose session had this host and port, else to the device that has the address. The
        device of another session at the same host is a guess: it may be a neighbour behind the same NAT.
        """
        now = self._clock.monotonic()
        ended = self._sessions.ended_at(remote, now)
        if ended is not None and self._identification.is_registered(ended.device):
            seconds = int(now - ended.at)
            self._reject(ended.device, remote, datagram, ended_seconds_ago=seconds, end_reason=ended.reason)
            return
        device = self._identification.device_meant_for(remote[0])
        neighbours = self._sessions.of_host(remote[0])
        if device is None and not neighbours:
            again = partial(self.without_session, datagram, remote)
            if self._identification.questions.hold(again, host=remote[0], octets=len(datagram)):
                return
        uptime = now - self._started
        known = []
        if len(neighbours) == 1 and device in (None, neighbours[0].fleet.device):
            (other,) = neighbours
            quiet = int(now - other.fleet.last_seen)
            guess = "a guess: " if device is None else ""
            known.append(
                f"{guess}the only session at this address has {render_remote(other.remote)}, quiet for {quiet} s"
            )
        if uptime < _FRESH and (device is None or not neighbours):
            known.append(f"this server started {int(uptime)} s ago: sessions from before are gone; handshake again")
        self._reject(device, remote, datagram, detail="; ".join(known) or None, kind="")

    def cut(self, datagram: bytes, cut: Cut, remote: Remote) -> None:
        """Publish a datagram that consists of encrypted records, but not of whole ones."""
        session = self._sessions.at(remote)
        device = self._identification.device_meant_for(remote[0]) if session is None else session.fleet.device
        self._reject(
            device, remote, datagram, reason=MessageRejectedReason.MALFORMED, detail=cut.detail, at=cut.at, kind="cut"
        )

    def unreadable(self, datagram: bytes, session: DtlsSession) -> None:
        """Publish application data that the engine dropped."""
        number = datagram[NUMBER]
        if number[:2] != _FIRST_EPOCH:
            detail = "its epoch is not the session's: the client has the keys of another handshake"
        elif number <= session.newest:
            detail = "its sequence number was used before: a repeated datagram, or a device that restored an old state"
        else:
            detail = "it cannot be decrypted: the client has other keys, or the datagram was damaged"
        self._reject(
            session.fleet.device,
            session.remote,
            datagram,
            reason=MessageRejectedReason.UNREADABLE_RECORD,
            detail=detail,
        )

    def _reject(
        self,
        device: Device | None,
        remote: Remote,
        datagram: bytes,
        *,
        reason: MessageRejectedReason = MessageRejectedReason.NO_SESSION,
        **data: Any,
    ) -> None:
        self._reception.rejections.rejected(
            reason, device=device, remote=remote, transport=self._transport, size=len(datagram), **data
        )
