"""A simulated mobile core: one NAS that attaches modems over RADIUS and sends accounting records."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from span_events.errors import SpanEventsError
from span_events.simulator.cellular.modems import Modem
from span_events.simulator.cellular.pdp_context import attributes_of, number
from span_events.simulator.cellular.radius_client import Answer, Attributes, Patience, RadiusClient
from span_events.simulator.sockets import Address
from span_events.wire.radius.packets import Attribute, Code, StatusType

_LOOK: Final = 1.0
"""Seconds between two checks for sessions that are due for an Interim-Update."""
_USER_REQUEST: Final = 1
"""Acct-Terminate-Cause (RFC 2866 §5.10)."""

_MOBILE_CORE_CHOOSES: Final = bytes((255, 255, 255, 254))
"""The address that lets the NAS select one (RFC 2865 §5.8)."""


class AttachRefused(SpanEventsError):
    """The server rejected a modem, or had no address for it."""

    code = "attach_refused"
    hint = "The activity stream says why: imsiMismatch, imeiMismatch or ciotRejected."


class MobileCoreUnanswered(SpanEventsError):
    """The server answered no request, or with another secret."""

    code = "mobile_core_unanswered"
    exit_status = 5
    hint = (
        "Is RADIUS served there, is the address of this machine in a table [[radius.nas]] of the server, and is the "
        "secret the one of that table? The log of the server says what it dropped."
    )


@dataclass(slots=True, eq=False)
class Session:
    """One attachment of a modem."""

    id: str
    """Acct-Session-Id."""
    modem: Modem
    address: str
    """Source address of the device."""
    class_: bytes
    """Class attribute of the Access-Accept, repeated in all accounting of the session."""
    interim_interval: float
    """Seconds between Interim-Updates; 0 sends none."""
    began: float = field(default_factory=time.monotonic)
    reported: float = field(default_factory=time.monotonic)
    """Time of the last accounting record; monotonic seconds, like ``began``."""
    is_open: bool = True


class MobileCore:
    """
    One NAS.

    Args:
        authentication: Address of the server for Access-Requests.
        accounting: Address of the server for Accounting-Requests.
        secret: Shared secret.
        address: NAS-IP-Address: an IPv4 address that distinguishes its sessions from those of other cores.
        name: NAS-Identifier.
        patience: Timing of retransmissions.
    """

    def __init__(
        self,
        authentication: Address,
        accounting: Address,
        secret: bytes,
        *,
        address: str,
        name: str = "simulator",
        patience: Patience | None = None,
    ) -> None:
        self.authentication = authentication
        self._accounting = accounting
        self._secret = secret
        self._patience = patience or Patience()
        self._identity: Attributes = (
            (Attribute.NAS_IP_ADDRESS, IPv4Address(address).packed),
            (Attribute.NAS_IDENTIFIER, name.encode()),
        )
        self._prefix = IPv4Address(address).packed.hex()
        self._charging_id = random.getrandbits(32)
        self._access_client: RadiusClient | None = None
        self._accounting_client: RadiusClient | None = None
        self._up = asyncio.Event()
        self.sessions: dict[str, Session] = {}
        """Open sessions by their id."""

    def bind(self) -> None:
        """
        Open the sockets unless they are open; nothing is sent.

        Raises:
            AddressUnavailable: The server is not reachable from this machine, or no socket is left.
        """
        if self._access_client is None:
            self._access_client = RadiusClient(self.authentication, self._secret, patience=self._patience)
            self._accounting_client = RadiusClient(self._accounting, self._secret, patience=self._patience)

    def close(self) -> None:
        """Close the sockets; idempotent. Nothing is sent to the server."""
        for client in (self._access_client, self._accounting_client):
            if client is not None:
                client.close()
        self._access_client = self._accounting_client = None

    async def start(self) -> None:
        """
        Go up unless the core is up, and send Accounting-On: the server ends all sessions of this core.

        Raises:
            MobileCoreUnanswered: The server did not answer.
        """
        if not self._up.is_set():
            await self._report_status(StatusType.ACCOUNTING_ON)
            self._up.set()

    async def stop(self) -> None:
        """
        Go down and send Accounting-Off, which ends every session. `attach` waits until the core is up again.

        Raises:
            MobileCoreUnanswered: The server did not answer.
        """
        self._up.clear()
        for session in list(self.sessions.values()):
            self.forget(session)
        await self._report_status(StatusType.ACCOUNTING_OFF)

    async def restart(self, pause: float) -> None:
        """
        Go down, and up again after a pause in seconds.

        Raises:
            MobileCoreUnanswered: The server did not answer; the core is up again nevertheless.
        """
        try:
            await self.stop()
            await asyncio.sleep(pause)
            await self.start()
        finally:
            self._up.set()

    async def run(self) -> None:
        """Send Interim-Updates at the interval of the server until cancelled. Cancelling loses nothing."""
        while True:
            await asyncio.sleep(_LOOK)
            now = time.monotonic()
            for session in list(self.sessions.values()):
                if session.interim_interval and now - session.reported >= session.interim_interval and session.is_open:
                    await self.interim(session)

    async def attach(self, modem: Modem, *, choice: str = "", insist: bool = False) -> Session:
        """
        Attach a modem: send an Access-Request, and after the Access-Accept a Start.

        Args:
            choice: Address of the modem if the server lets the core choose.
            insist: Use that address even if the server assigns another.

        Raises:
            AttachRefused: The server rejected the modem, or neither server nor core has an address for it.
            MobileCoreUnanswered: The server did not answer.
        """
        await self._up.wait()
        self._charging_id = (self._charging_id + 1) & 0xFFFF_FFFF
        charging_id = self._charging_id
        attributes = self._attributes(modem, charging_id)
        accept = await self._request_access(attributes)
        given = accept.value(Attribute.FRAMED_IP_ADDRESS)
        leaves_it = len(given) != 4 or given == _MOBILE_CORE_CHOOSES
        address = choice if insist or leaves_it else str(IPv4Address(given))
        if not address:
            raise AttachRefused("The server gives no IPv4 address, and this core has none to give")
        session = Session(
            f"{self._prefix}{charging_id:08x}".upper(),
            modem,
            address,
            accept.value(Attribute.CLASS),
            int.from_bytes(accept.value(Attribute.ACCT_INTERIM_INTERVAL), "big"),
        )
        self.sessions[session.id] = session
        try:
            await self._account(StatusType.START, self._details(session))
        except BaseException:
            self.forget(session)
            raise
        if not session.is_open:
            raise AttachRefused("The mobile core went down meanwhile")
        return session

    async def interim(self, session: Session) -> None:
        """Send an Interim-Update of a session; a lost one is made up for by the next."""
        session.reported = time.monotonic()
        with suppress(MobileCoreUnanswered):
            await self._account(StatusType.INTERIM_UPDATE, self._details(session))

    async def detach(self, session: Session) -> None:
        """
        End a session and send a Stop, as after a device is switched off; an ended session is left alone.

        Raises:
            MobileCoreUnanswered: The server did not answer; the session has ended nevertheless.
        """
        if session.is_open:
            self.forget(session)
            cause = (Attribute.ACCT_TERMINATE_CAUSE, number(_USER_REQUEST))
            await self._account(StatusType.STOP, (*self._details(session), cause))

    def forget(self, session: Session) -> None:
        """End a session without a Stop, like a core that loses part of its memory."""
        session.is_open = False
        self.sessions.pop(session.id, None)

    async def ask_with(self, secret: bytes, modem: Modem) -> bool:
        """Send one Access-Request with another secret; return True if the server answered."""
        client = RadiusClient(self.authentication, secret, patience=Patience(self._patience.timeout, tries=1))
        try:
            return await client.exchange(Code.ACCESS_REQUEST, self._attributes(modem, 0)) is not None
        finally:
            client.close()

    async def _request_access(self, attributes: Attributes) -> Answer:
        assert self._access_client is not None, "a core that is up is bound"
        answer = await self._access_client.exchange(Code.ACCESS_REQUEST, attributes)
        if answer is None:
            raise _unanswered(self.authentication)
        if answer.code != Code.ACCESS_ACCEPT:
            words = answer.value(Attribute.REPLY_MESSAGE).decode(errors="replace")
            raise AttachRefused(words or "Access-Reject without a word")
        return answer

    async def _account(self, status: StatusType, details: Attributes) -> None:
        assert self._accounting_client is not None, "a core that is up is bound"
        stamp = (Attribute.EVENT_TIMESTAMP, number(int(time.time())))
        request = ((Attribute.ACCT_STATUS_TYPE, number(status)), stamp, *details)
        if await self._accounting_client.exchange(Code.ACCOUNTING_REQUEST, request) is None:
            raise _unanswered(self._accounting)

    async def _report_status(self, status: StatusType) -> None:
        self.bind()
        await self._account(status, (*self._identity, (Attribute.ACCT_SESSION_ID, b"00000000")))

    def _attributes(self, modem: Modem, charging_id: int) -> Attributes:
        return (*self._identity, *attributes_of(modem, charging_id))

    def _details(self, session: Session) -> Attributes:
        return (
            (Attribute.ACCT_SESSION_ID, session.id.encode()),
            (Attribute.FRAMED_IP_ADDRESS, IPv4Address(session.address).packed),
            (Attribute.ACCT_SESSION_TIME, number(int(time.monotonic() - session.began))),
            *([(Attribute.CLASS, session.class_)] if session.class_ else []),
            *self._attributes(session.modem, int(session.id[-8:], 16)),
        )


def _unanswered(target: Address) -> MobileCoreUnanswered:
    return MobileCoreUnanswered(f"{target[0]}:{target[1]}/udp gives no RADIUS answer")
