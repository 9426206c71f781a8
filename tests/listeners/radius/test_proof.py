"""Proof of requests: secrets, signatures, and duplicates."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.wire.radius.packets import Code
from tests.bench.peers.radclient import ATTACH, SECRET
from tests.listeners.radius.bench import (
    BOTH,
    LENIENT,
    NAS,
    SIGNATURE,
    UNKNOWN_STATUS,
    RadiusBench,
    asking,
    radius_bench,
    reporting,
)
from tests.wire.radius.building import access_request, accounting_request, attribute, attributes_of

# ---- who is believed ------------------------------------------------------------------------------


def rejections(radius: RadiusBench) -> list[tuple[str, dict[str, str]]]:
    """Return the rejections of requests without proof: host of the sender, and data without its port."""
    assert set(radius.fleet.names) == {"ciotRejected"}
    return [(data.pop("remoteAddress").rpartition(":")[0], data) for _, data in radius.fleet.published]


async def test_a_wrong_secret_gets_no_answer(radius: RadiusBench) -> None:
    """F05: on either port; published once, with the NAS and no field of the request."""
    assert await radius.silent(radius.client(), asking(secret=b"wrong"))
    assert await radius.silent(radius.client(accounting=True), reporting(1, secret=b"wrong"), accounting=True)

    assert rejections(radius) == [("127.0.0.1", {"reason": "badSecret", "nas": "pgw1"})]
    assert radius.outcome("bad_message_authenticator") == 1
    assert radius.outcome("bad_authenticator") == 1


async def test_a_request_without_a_signature_gets_no_answer(radius: RadiusBench) -> None:
    """F05: also with the right secret, as nothing proves it."""
    assert await radius.silent(radius.client(), asking(signed=False))

    assert rejections(radius) == [("127.0.0.1", {"reason": "missingAuthenticator", "nas": "pgw1"})]
    assert radius.outcome("no_message_authenticator") == 1


async def test_unsigned_requests_are_accepted_where_the_configuration_allows_it(tmp_path: Path) -> None:
    """A signature, if present, must still be right."""
    with capture_logs() as logs:
        async with radius_bench(tmp_path, radius=BOTH) as radius:
            lenient = {"source": "127.0.0.2", "secret": LENIENT["secret"]}
            unsigned = await radius.ask({**ATTACH, **SIGNATURE}, **lenient)
            refused = await radius.silent(radius.client("127.0.0.2"), asking(secret=b"wrong"))
            unproven = radius.metric("radius_unproven")

    assert (unsigned.kind, refused, unproven) == ("Access-Accept", True, 1)
    assert [each["nas"] for each in logs if each["event"] == "radius_nas_unproven"] == ["pgw2"]


async def test_a_warning_is_logged_for_a_secret_file_readable_by_all_users(tmp_path: Path) -> None:
    """At start, with the command that fixes it."""
    file = tmp_path / "pgw1.secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    with capture_logs() as logs:
        async with radius_bench(tmp_path, radius={"nas": [NAS | {"secret": "", "secret_file": str(file)}]}):
            pass
    (warning,) = [each for each in logs if each["log_level"] == "warning"]

    assert (warning["event"], warning["nas"]) == ("radius_secret_readable", "pgw1")
    assert f"`chmod o= {file}`" in warning["hint"]


async def test_an_unknown_nas_gets_no_answer(radius: RadiusBench) -> None:
    """Also with the right secret; the event has the address that the configuration lacks."""
    assert await radius.silent(radius.client("127.0.0.3"), asking())

    assert rejections(radius) == [("127.0.0.3", {"reason": "unknownNas", "nas": "127.0.0.3"})]
    assert radius.outcome("unknown_nas") == 1


async def test_a_status_server_request_is_answered_on_both_ports(radius: RadiusBench) -> None:
    """RFC 5997: only with a signature, also where none is required."""
    client, accounting = radius.client(), radius.client(accounting=True)
    for each in (client, accounting):
        each.send(access_request(code=Code.STATUS_SERVER, identifier=7))
    answers = [await each.receive() for each in (client, accounting)]
    silent = await radius.silent(client, access_request(code=Code.STATUS_SERVER, signed=False))

    assert [each[:2] for each in answers] == [bytes((Code.ACCESS_ACCEPT, 7)), bytes((Code.ACCOUNTING_RESPONSE, 7))]
    assert [attributes_of(each)[0][0] for each in answers] == [80, 80]
    assert silent
    assert (radius.outcome("probed"), radius.outcome("no_message_authenticator")) == (3, 1)


async def test_a_nas_without_required_signatures_must_sign_status_server_requests(tmp_path: Path) -> None:
    async with radius_bench(tmp_path, radius={"nas": [NAS | {"require_message_authenticator": False}]}) as radius:
        silent = await radius.silent(radius.client(), access_request(code=Code.STATUS_SERVER, signed=False))

    assert silent


@pytest.mark.parametrize(
    ("datagram", "accounting"),
    [
        (access_request(), True),
        (accounting_request(UNKNOWN_STATUS), False),
        (access_request(code=Code.ACCESS_ACCEPT), False),
        (access_request(code=43), True),
    ],
)
async def test_each_port_accepts_only_its_own_requests(radius: RadiusBench, datagram: bytes, accounting: bool) -> None:
    """Requests for the other port, or for no server, are dropped."""
    silent = await radius.silent(radius.client(accounting=accounting), datagram, accounting=accounting)

    assert silent
    assert radius.outcome("wrong_code") == 1


# ---- copies ---------------------------------------------------------------------------------------


async def test_a_duplicate_gets_the_same_answer_and_publishes_nothing(radius: RadiusBench) -> None:
    """Octet for octet, with address and class of the first answer."""
    client = radius.client()
    answers = []
    for _ in range(3):
        client.send(asking("242016000000077"))
        answers.append(await client.receive())

    assert answers[0][0] == Code.ACCESS_REJECT
    assert answers[1:] == answers[:1] * 2
    assert (radius.outcome("rejected"), radius.outcome("duplicate")) == (1, 2)


async def test_an_identifier_can_be_used_again(radius: RadiusBench) -> None:
    """A request with another authenticator, or from another port, is another request."""
    client = radius.client()
    answers = []
    for authenticator in (bytes(16), bytes(range(16))):
        client.send(asking(authenticator=authenticator))
        answers.append(await client.receive())
    other = radius.client()
    other.send(asking())
    answers.append(await other.receive())

    assert len(set(answers)) == 3
    assert (radius.outcome("accepted"), radius.outcome("duplicate")) == (3, 0)


async def test_a_forged_duplicate_gets_no_answer(radius: RadiusBench) -> None:
    """The header of an answered request, followed by other attributes."""
    client = radius.client()
    genuine = asking()
    client.send(genuine)
    await client.receive()
    forged = bytearray(genuine)
    forged[-1] ^= 1
    silent = await radius.silent(client, bytes(forged), genuine[:-1])

    assert silent
    assert (radius.outcome("bad_message_authenticator"), radius.outcome("malformed")) == (1, 1)


async def test_proxy_state_is_returned(radius: RadiusBench) -> None:
    """RFC 2865 §5.33."""
    client = radius.client(accounting=True)
    client.send(accounting_request(attribute(33, b"one") + UNKNOWN_STATUS + attribute(33, b"two")))

    assert attributes_of(await client.receive()) == [(33, b"one"), (33, b"two")]
