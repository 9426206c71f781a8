"""FreeRADIUS's radclient and the RADIUS codec understand each other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address

import pytest

from span_events.wire.radius.attributes_3gpp import read
from span_events.wire.radius.packets import (
    Attribute,
    RadiusRequest,
    StatusType,
    Verdict,
    accept,
    accounting_response,
    decode,
    reject,
    settings_of,
    status_answer,
    verify,
)
from tests.bench.peers.radclient import ATTACH, START, STOP, radclient
from tests.wire.radius.building import SECRET

Answer = Callable[[RadiusRequest], bytes]


class Responder:
    """A RADIUS server that answers each request as the test says, and keeps the requests."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.requests: list[RadiusRequest] = []
        self.answer: Answer = accounting_response
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def _receive(self) -> None:
        datagram, remote = self._socket.recvfrom(4096)
        self.requests.append(decode(datagram, SECRET))
        self._socket.sendto(self.answer(self.requests[-1]), remote)

    def close(self) -> None:
        """Close the socket."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@pytest.fixture
async def responder() -> AsyncIterator[Responder]:
    """A responder on a free port."""
    opened = Responder()
    yield opened
    opened.close()


async def test_radclient_accepts_an_access_accept(responder: Responder) -> None:
    """Radclient shows the attributes of the answer with the intended values."""
    settings = settings_of(dns=[ip_address("10.0.0.1")], interim_interval=600)
    responder.answer = lambda request: accept(
        request, address="10.64.0.11", prefix="2001:db8:1:2::/64", class_=b"0x30", settings=settings
    )
    reply = await radclient(responder.port, "auth", ATTACH)
    (request,) = responder.requests

    assert verify(request) is Verdict.PROVEN
    assert read(request.values(26)).imsi == "242016000000001"
    assert request.text(Attribute.CALLED_STATION_ID) == "mda.test"
    assert reply.kind == "Access-Accept"
    assert reply.value("Framed-IP-Address") == "10.64.0.11"
    assert reply.value("Framed-IP-Netmask") == "255.255.255.255"
    assert reply.value("Framed-IPv6-Prefix") == "2001:db8:1:2::/64"
    assert reply.value("Class") == "0x30783330"
    assert reply.value("MS-Primary-DNS-Server") == "10.0.0.1"
    assert reply.value("Acct-Interim-Interval") == "600"


async def test_a_password_stays_hidden(responder: Responder) -> None:
    """The server does not use the password, so its octets stay encrypted (RFC 2865 §5.2)."""
    responder.answer = lambda request: reject(request, "Not admitted.")
    await radclient(responder.port, "auth", ATTACH)
    (request,) = responder.requests
    kept = repr([*request.packet.items(), vars(request.packet)])

    assert verify(request) is Verdict.PROVEN
    assert len(request.value(2) or b"") == 32
    assert "mda.test" in kept
    assert "a password of the tests" not in kept


async def test_radclient_accepts_an_access_reject(responder: Responder) -> None:
    responder.answer = lambda request: reject(request, "Not admitted.")
    reply = await radclient(responder.port, "auth", ATTACH)

    assert (reply.kind, reply.value("Reply-Message")) == ("Access-Reject", "Not admitted.")


@pytest.mark.parametrize(("fields", "status"), [(START, StatusType.START), (STOP, StatusType.STOP)])
async def test_radclient_accepts_an_accounting_response(
    responder: Responder, fields: dict[str, str], status: StatusType
) -> None:
    """The authenticator alone proves an accounting request."""
    reply = await radclient(responder.port, "acct", fields)
    (request,) = responder.requests

    assert verify(request) is Verdict.PROVEN
    assert request.number(Attribute.ACCT_STATUS_TYPE) == status
    assert request.framed_address() == "10.64.0.11"
    assert request.number(Attribute.EVENT_TIMESTAMP) == 1795168800
    assert reply.kind == "Accounting-Response"


@pytest.mark.parametrize(("accounting", "kind"), [(False, "Access-Accept"), (True, "Accounting-Response")])
async def test_radclient_accepts_the_answer_to_status_server(responder: Responder, accounting: bool, kind: str) -> None:
    """RFC 5997."""
    responder.answer = lambda request: status_answer(request, accounting=accounting)
    reply = await radclient(responder.port, "status", {"Message-Authenticator": "0x00"})
    (request,) = responder.requests

    assert verify(request) is Verdict.PROVEN
    assert reply.kind == kind


async def test_client_and_server_detect_a_different_secret(responder: Responder) -> None:
    responder.answer = lambda request: accept(request, address="10.64.0.11", prefix="", class_=b"")
    reply = await radclient(responder.port, "auth", ATTACH, secret="something else", seconds=0.5)
    (request,) = responder.requests

    assert verify(request) is Verdict.BAD_MESSAGE_AUTHENTICATOR
    assert reply.kind == ""
    assert "Reply verification failed" in reply.output
