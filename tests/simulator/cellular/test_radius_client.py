"""The RADIUS client of the simulator, against the codec of the server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable

import pytest

from span_events.simulator.cellular.radius_client import AT_ONCE, Patience, RadiusClient
from span_events.wire.radius.packets import (
    Attribute,
    Code,
    Verdict,
    accept,
    accounting_response,
    decode,
    reject,
    status_answer,
    verify,
)
from tests.simulator.cellular.radius_server import STEADY
from tests.simulator.responder import Responder

SECRET = b"a secret of the tests"
QUICK = Patience(timeout=0.05, tries=3)
"""For what gets no answer."""
NAME = ((Attribute.NAS_IDENTIFIER, b"pgw1"),)


def accepted(datagram: bytes) -> Iterable[bytes]:
    """Answer like the server."""
    yield accept(decode(datagram, SECRET), address="10.64.0.11", prefix="", class_=b"token")


def accounted(datagram: bytes) -> Iterable[bytes]:
    """Answer like the server."""
    yield accounting_response(decode(datagram, SECRET))


async def test_an_access_request_is_signed_and_its_answer_decoded() -> None:
    with Responder(accepted) as server:
        client = RadiusClient(server.address, SECRET, patience=STEADY)
        answer = await client.exchange(Code.ACCESS_REQUEST, NAME)
        client.close()

    request = decode(server.received[0][0], SECRET)
    assert verify(request) is Verdict.PROVEN
    assert request.text(Attribute.NAS_IDENTIFIER) == "pgw1"
    assert answer is not None
    assert (answer.code, answer.value(Attribute.CLASS)) == (Code.ACCESS_ACCEPT, b"token")
    assert answer.value(Attribute.FRAMED_IP_ADDRESS) == bytes((10, 64, 0, 11))
    assert answer.value(Attribute.REPLY_MESSAGE) == b""


async def test_a_message_authenticator_comes_first() -> None:
    """This place prevents the collision that turns a Reject into an Accept (CVE-2024-3596)."""
    with Responder(accepted) as server:
        client = RadiusClient(server.address, SECRET, patience=STEADY)
        await client.exchange(Code.ACCESS_REQUEST, NAME)
        client.close()

    assert server.received[0][0][20] == Attribute.MESSAGE_AUTHENTICATOR


async def test_an_accounting_request_is_signed_by_its_authenticator() -> None:
    with Responder(accounted) as server:
        client = RadiusClient(server.address, SECRET, patience=STEADY)
        answer = await client.exchange(Code.ACCOUNTING_REQUEST, NAME)
        client.close()

    request = decode(server.received[0][0], SECRET)
    assert verify(request) is Verdict.PROVEN
    assert request.value(Attribute.MESSAGE_AUTHENTICATOR) is None
    assert answer is not None
    assert answer.code == Code.ACCOUNTING_RESPONSE


async def test_an_unanswered_request_is_retransmitted_unchanged_until_patience_ends() -> None:
    """The server recognizes a duplicate by port, identifier and authenticator (RFC 5080 §2.2.2)."""
    with Responder() as server:
        client = RadiusClient(server.address, SECRET, patience=QUICK)
        answer = await client.exchange(Code.ACCESS_REQUEST, NAME)
        client.close()

    assert answer is None
    assert len(server.received) == 3
    assert len(set(server.received)) == 1


async def test_a_second_try_may_succeed() -> None:
    def second_time(datagram: bytes) -> Iterable[bytes]:
        return accepted(datagram) if len(server.received) == 2 else ()

    with Responder(second_time) as server:
        client = RadiusClient(server.address, SECRET, patience=STEADY)
        answer = await client.exchange(Code.ACCESS_REQUEST, NAME)
        client.close()

    assert answer is not None


def with_other_secret(datagram: bytes) -> bytes:
    return accept(decode(datagram, b"another secret"), address="10.64.0.11", prefix="", class_=b"")


def made_of_a_reject(datagram: bytes) -> bytes:
    refusal = reject(decode(datagram, SECRET), "Not admitted.")
    return bytes((Code.ACCESS_ACCEPT,)) + refusal[1:]


def with_another_identifier(datagram: bytes) -> bytes:
    return with_identifier(datagram, datagram[1] ^ 1)


def with_identifier(datagram: bytes, identifier: int) -> bytes:
    changed = datagram[:1] + bytes((identifier,)) + datagram[2:]
    return accept(decode(changed, SECRET), address="10.64.0.11", prefix="", class_=b"")


def too_short(datagram: bytes) -> bytes:
    return datagram[:19]


@pytest.mark.parametrize("forge", [with_other_secret, made_of_a_reject, with_another_identifier, too_short])
async def test_an_answer_without_proof_is_ignored(forge: object) -> None:
    """The true one is accepted after it."""

    def forged_then_true(datagram: bytes) -> Iterable[bytes]:
        assert callable(forge)
        yield forge(datagram)
        yield from accepted(datagram)

    with Responder(forged_then_true) as server:
        client = RadiusClient(server.address, SECRET, patience=STEADY)
        answer = await client.exchange(Code.ACCESS_REQUEST, NAME)
        client.close()

    assert answer is not None
    assert answer.value(Attribute.CLASS) == b"token"


async def test_an_access_answer_without_message_authenticator_is_ignored() -> None:
    """Its authenticator alone can be forged (CVE-2024-3596)."""

    def unsigned(datagram: bytes) -> Iterable[bytes]:
        header = bytes((Code.ACCESS_ACCEPT, datagram[1], 0, 20))
        yield header + hashlib.md5(header + datagram[4:20] + SECRET).digest()

    with Responder(unsigned) as server:
        client = RadiusClient(server.address, SECRET, patience=QUICK)
        answer = await client.exchange(Code.ACCESS_REQUEST, NAME)
        client.close()

    assert answer is None


async def test_many_open_requests_get_their_own_answers() -> None:
    """More than there are identifiers: the others wait."""

    def echoed(datagram: bytes) -> Iterable[bytes]:
        request = decode(datagram, SECRET)
        class_ = request.value(Attribute.CALLING_STATION_ID) or b""
        yield accept(request, address="10.64.0.11", prefix="", class_=class_)

    names = [b"%d" % number for number in range(3 * AT_ONCE)]
    with Responder(echoed) as server:
        client = RadiusClient(server.address, SECRET)
        answers = await asyncio.gather(
            *(client.exchange(Code.ACCESS_REQUEST, ((Attribute.CALLING_STATION_ID, name),)) for name in names)
        )
        client.close()

    assert [answer and answer.value(Attribute.CLASS) for answer in answers] == names


async def test_answers_to_status_server_are_decoded_like_others() -> None:
    """A Status-Server is signed like an Access-Request (RFC 5997 §3)."""
    with Responder(lambda datagram: [status_answer(decode(datagram, SECRET), accounting=False)]) as server:
        client = RadiusClient(server.address, SECRET, patience=STEADY)
        answer = await client.exchange(Code.STATUS_SERVER, NAME)
        client.close()

    assert verify(decode(server.received[0][0], SECRET)) is Verdict.PROVEN
    assert answer is not None
