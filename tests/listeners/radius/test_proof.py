"""Which requests are believed: secrets, signatures, and copies of what was answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.wire.radius.packets import Code
from tests.bench.radclient import ATTACH, SECRET, START
from tests.listeners.radius.bench import (
    BOTH,
    LENIENT,
    NAS,
    SIGNATURE,
    UNKNOWN_STATUS,
    RadiusBench,
    asking,
    radius_bench,
)
from tests.wire.radius.building import access_request, accounting_request, attribute, attributes_of

# ---- who is believed ------------------------------------------------------------------------------


def rejections(radius: RadiusBench) -> list[tuple[str, dict[str, str]]]:
    """What was told of requests without proof: the host that sent them, and everything but its port."""
    assert set(radius.fleet.names) == {"ciotRejected"}
    return [(data.pop("remoteAddress").rpartition(":")[0], data) for _, data in radius.fleet.told]


async def test_a_wrong_secret_gets_no_answer(radius: RadiusBench) -> None:
    """F05: on either port; told once, with the NAS and nothing that the request says."""
    access = await radius.ask(ATTACH, secret="wrong", seconds=0.3)
    accounting = await radius.tell(START, secret="wrong", seconds=0.3)

    assert (access.kind, accounting.kind) == ("", "")
    assert rejections(radius) == [("127.0.0.1", {"reason": "badSecret", "nas": "pgw1"})]
    assert radius.outcome("bad_message_authenticator") == 1
    assert radius.outcome("bad_authenticator") == 1


async def test_a_request_without_a_signature_gets_no_answer(radius: RadiusBench) -> None:
    """F05: with the right secret, as nothing shows that it is right."""
    reply = await radius.ask({**ATTACH, **SIGNATURE}, seconds=0.3)

    assert reply.kind == ""
    assert rejections(radius) == [("127.0.0.1", {"reason": "missingAuthenticator", "nas": "pgw1"})]
    assert radius.outcome("no_message_authenticator") == 1


async def test_a_nas_may_be_believed_without_a_signature(tmp_path: Path) -> None:
    """When the configuration says so. A signature that is there must be right all the same."""
    with capture_logs() as logs:
        async with radius_bench(tmp_path, radius=BOTH) as radius:
            lenient = {"source": "127.0.0.2", "secret": LENIENT["secret"]}
            unsigned = await radius.ask({**ATTACH, **SIGNATURE}, **lenient)
            wrong = await radius.ask(ATTACH, source="127.0.0.2", secret="wrong", seconds=0.3)
            unproven = radius.metric("radius_unproven")

    assert (unsigned.kind, wrong.kind, unproven) == ("Access-Accept", "", 1)
    assert [each["nas"] for each in logs if each["event"] == "radius_nas_unproven"] == ["pgw2"]


async def test_a_secret_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    """At the start, with the command that closes it."""
    file = tmp_path / "pgw1.secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    with capture_logs() as logs:
        async with radius_bench(tmp_path, radius={"nas": [NAS | {"secret": "", "secret_file": str(file)}]}):
            pass
    (warning,) = [each for each in logs if each["log_level"] == "warning"]

    assert (warning["event"], warning["nas"]) == ("radius_secret_readable", "pgw1")
    assert f"`chmod o= {file}`" in warning["hint"]


async def test_a_stranger_gets_no_answer(radius: RadiusBench) -> None:
    """Even with the right secret; the event names the address that the configuration lacks."""
    reply = await radius.ask(ATTACH, source="127.0.0.3", seconds=0.3)

    assert reply.kind == ""
    assert rejections(radius) == [("127.0.0.3", {"reason": "unknownNas", "nas": "127.0.0.3"})]
    assert radius.outcome("unknown_nas") == 1


async def test_a_probe_is_answered_on_both_ports(radius: RadiusBench) -> None:
    """RFC 5997: Status-Server, and only with a signature, also where none is required."""
    client, accounting = radius.client(), radius.client(accounting=True)
    for each in (client, accounting):
        each.send(access_request(code=Code.STATUS_SERVER, identifier=7))
    answers = [await each.receive() for each in (client, accounting)]
    silent = await radius.silent(client, access_request(code=Code.STATUS_SERVER, signed=False))

    assert [each[:2] for each in answers] == [bytes((Code.ACCESS_ACCEPT, 7)), bytes((Code.ACCOUNTING_RESPONSE, 7))]
    assert [attributes_of(each)[0][0] for each in answers] == [80, 80]
    assert silent
    assert (radius.outcome("probed"), radius.outcome("no_message_authenticator")) == (3, 1)


async def test_a_lenient_nas_must_sign_its_probes_too(tmp_path: Path) -> None:
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
async def test_each_port_has_its_requests(radius: RadiusBench, datagram: bytes, accounting: bool) -> None:
    """What belongs to the other port, or to no server, is dropped."""
    silent = await radius.silent(radius.client(accounting=accounting), datagram, accounting=accounting)

    assert silent
    assert radius.outcome("wrong_code") == 1


# ---- copies ---------------------------------------------------------------------------------------


async def test_a_copy_gets_the_same_answer_and_no_event(radius: RadiusBench) -> None:
    """Octet for octet, with the address and the class of the first."""
    client = radius.client()
    answers = []
    for _ in range(3):
        client.send(asking("242016000000077"))
        answers.append(await client.receive())

    assert answers[0][0] == Code.ACCESS_REJECT
    assert answers[1:] == answers[:1] * 2
    assert (radius.outcome("rejected"), radius.outcome("duplicate")) == (1, 2)


async def test_an_identifier_is_used_again(radius: RadiusBench) -> None:
    """A request with another authenticator is another request; so is one from another port."""
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


async def test_a_forged_copy_gets_nothing(radius: RadiusBench) -> None:
    """The header of a request that was answered, with other attributes behind it."""
    client = radius.client()
    genuine = asking()
    client.send(genuine)
    await client.receive()
    forged = bytearray(genuine)
    forged[-1] ^= 1
    silent = await radius.silent(client, bytes(forged), genuine[:-1])

    assert silent
    assert (radius.outcome("bad_message_authenticator"), radius.outcome("malformed")) == (1, 1)


async def test_what_proxies_added_comes_back(radius: RadiusBench) -> None:
    """RFC 2865 §5.33."""
    client = radius.client(accounting=True)
    client.send(accounting_request(attribute(33, b"one") + UNKNOWN_STATUS + attribute(33, b"two")))

    assert attributes_of(await client.receive()) == [(33, b"one"), (33, b"two")]
