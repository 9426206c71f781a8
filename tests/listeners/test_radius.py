"""RADIUS as the mobile core speaks it: radclient with FreeRADIUS's 3GPP dictionary, and raw sockets for the rest."""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from span_events.config import RadiusConfig
from span_events.errors import ListenerUnavailable
from span_events.events.activity import UNATTRIBUTED
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.devices import DeviceChange
from span_events.listeners.radius import Radius
from span_events.wire.radius import Code
from tests.fleets import CAUSE
from tests.listeners.radius_bench import (
    ADDRESS,
    BOTH,
    IMEI,
    IMSI,
    LENIENT,
    NAS,
    UNKNOWN_STATUS,
    RadiusBench,
    radius_bench,
)
from tests.radclient import ACCOUNTING_ON, ATTACH, SECRET, START, STOP
from tests.waiting import until
from tests.wire.radius_packets import access_request, accounting_request, attribute, attributes_of, of_3gpp

STRANGER = {"3GPP-IMSI": '"242016000009999"', "3GPP-IMEISV": '"8612345678901202"'}
SIGNATURE: dict[str, str | None] = {"Message-Authenticator": None}
"""Leaves it out."""


@pytest.fixture
async def radius(tmp_path: Path) -> AsyncIterator[RadiusBench]:
    """A listener with one NAS, and a device with SIM, hardware and a static address."""
    async with radius_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
def at_debug() -> Iterator[None]:
    """Logging at its lowest level, whatever a test before this one has set."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    yield
    structlog.configure(**before)


# ---- what a mobile core does ----------------------------------------------------------------------


async def test_a_device_attaches(radius: RadiusBench) -> None:
    """Access-Accept with its address, then accounting: ciotConnect with all that the attributes tell."""
    accept = await radius.ask(ATTACH)
    silent_so_far = radius.fleet.names
    response = await radius.tell(START)
    ((name, data),) = radius.fleet.told

    assert (accept.kind, response.kind) == ("Access-Accept", "Accounting-Response")
    assert accept.value("Framed-IP-Address") == ADDRESS
    assert accept.value("Framed-IP-Netmask") == "255.255.255.255"
    assert accept.value("Acct-Interim-Interval") == "600"
    assert silent_so_far == []
    assert name == "ciotConnect"
    assert data | {"imsi": IMSI, "imei": IMEI, "allocatedIp": ADDRESS, "apn": "mda.test", "rat": "E-UTRAN"} == data
    assert data | {"cellId": "10597059", "mcc": "242", "mnc": "01", "network": "Telenor"} == data
    assert radius.fleet.directory.device_at(ADDRESS) is radius.device
    assert radius.device.ciot.country_code == "NO"


async def test_a_session_is_told_once(radius: RadiusBench) -> None:
    """A repeated Start with another delay, and Interim-Updates, are answered and are no events."""
    await radius.tell(START)
    again = await radius.tell(START | {"Acct-Delay-Time": "5"})
    update = await radius.tell(START | {"Acct-Status-Type": "Interim-Update"})

    assert (again.kind, update.kind) == ("Accounting-Response", "Accounting-Response")
    assert radius.fleet.names == ["ciotConnect"]


async def test_a_swapped_sim_is_refused(radius: RadiusBench) -> None:
    """And told once."""
    for _ in range(2):
        assert (await radius.ask(ATTACH | {"3GPP-IMSI": '"242016000000077"'})).kind == "Access-Reject"
    ((name, data),) = radius.fleet.told

    assert name == "imsiMismatch"
    assert data == {"imsi": "242016000000077", "imei": IMEI, "expectedImsi": IMSI}


async def test_a_sim_in_new_hardware_is_refused(radius: RadiusBench) -> None:
    """Another version of the software is no other hardware."""
    update = await radius.ask(ATTACH | {"3GPP-IMEISV": '"3569380356438099"'})
    moved = await radius.ask(ATTACH | {"3GPP-IMEISV": '"8612345678901202"'})
    ((name, data),) = radius.fleet.told

    assert (update.kind, moved.kind, moved.value("Reply-Message")) == (
        "Access-Accept",
        "Access-Reject",
        "Not admitted.",
    )
    assert name == "imeiMismatch"
    assert data == {"imsi": IMSI, "imei": "861234567890123"[:14] + data["imei"][14], "expectedImei": IMEI}


async def test_a_device_detaches(radius: RadiusBench) -> None:
    """Stop says why; a second one is answered too."""
    await radius.tell(START)
    first = await radius.tell(STOP)
    second = await radius.tell(STOP | {"Acct-Delay-Time": "5"})
    _, data = radius.fleet.told[-1]

    assert (first.kind, second.kind) == ("Accounting-Response", "Accounting-Response")
    assert radius.fleet.names == ["ciotConnect", "ciotDisconnect"]
    assert data | {"reason": "stop", "cause": "User-Request", "seconds": "120", "allocatedIp": ADDRESS} == data


@pytest.mark.parametrize("status", ["Accounting-On", "Accounting-Off"])
async def test_a_nas_that_restarts_ends_its_sessions_and_no_others(tmp_path: Path, status: str) -> None:
    """Which are its own, the sender says and not the attribute: two NAS may call themselves the same."""
    other = {**LENIENT, "secret": SECRET}
    async with radius_bench(tmp_path, radius={"nas": [NAS, other]}) as radius:
        await radius.tell(START)
        foreign = await radius.tell(ACCOUNTING_ON | {"Acct-Status-Type": status}, source="127.0.0.2")
        still = radius.fleet.names
        own = await radius.tell(ACCOUNTING_ON | {"Acct-Status-Type": status})
        _, data = radius.fleet.told[-1]

    assert (foreign.kind, own.kind) == ("Accounting-Response", "Accounting-Response")
    assert still == ["ciotConnect"]
    assert radius.fleet.names == ["ciotConnect", "ciotDisconnect"]
    assert data["reason"] == "nasRestarted"


async def test_a_restart_that_is_told_late_ends_no_session_since(radius: RadiusBench) -> None:
    """Acct-Delay-Time says for how long the NAS has tried (RFC 2866 §5.2)."""
    await radius.tell(START)
    reply = await radius.tell(ACCOUNTING_ON | {"Acct-Delay-Time": "5"})

    assert reply.kind == "Accounting-Response"
    assert radius.fleet.names == ["ciotConnect"]


async def test_an_address_goes_over_to_another_device(radius: RadiusBench) -> None:
    """First the end of the one, then the other; a late Stop of the first changes nothing."""
    fleet = radius.fleet
    other = await fleet.devices.create(await fleet.collection(), DeviceChange(imsi="242016000000002"), cause=CAUSE)
    fleet.activities.clear()
    await radius.tell(START)
    later = {"3GPP-IMSI": '"242016000000002"', "3GPP-IMEISV": None, "Acct-Session-Id": '"2"'}
    await radius.tell(START | later | {"Event-Timestamp": '"Nov 20 2026 10:01:00 UTC"'})
    late = await radius.tell(STOP)

    assert fleet.names == ["ciotConnect", "ciotDisconnect", "ciotConnect"]
    assert fleet.told[1][1]["reason"] == "addressReassigned"
    assert late.kind == "Accounting-Response"
    assert fleet.directory.device_at(ADDRESS) is other


async def test_somebody_unknown_is_refused(radius: RadiusBench) -> None:
    """Once for two tries, to nobody's collection."""
    for _ in range(2):
        assert (await radius.ask(ATTACH | STRANGER)).kind == "Access-Reject"
    ((name, data),) = radius.fleet.told

    assert (name, data["reason"], data["nas"]) == ("ciotRejected", "unknownDevice", "pgw1")
    assert radius.fleet.events[0].origin == UNATTRIBUTED


async def test_a_prefix_is_an_address_too(radius: RadiusBench) -> None:
    """IPv6 only: every host in it is the device."""
    fields: dict[str, str | None] = {"Framed-IP-Address": None, "Framed-IPv6-Prefix": "2001:db8:1:2::/64"}
    response = await radius.tell({**START, **fields})

    assert response.kind == "Accounting-Response"
    assert radius.fleet.directory.device_at("2001:db8:1:2::77") is radius.device
    assert radius.device.ciot.allocated_prefix == "2001:db8:1:2::/64"


async def test_a_nas_without_accounting_attaches_by_the_accept(tmp_path: Path) -> None:
    """There will be no Start."""
    async with radius_bench(tmp_path, radius={"nas": [NAS | {"accounting": False}]}) as radius:
        accept = await radius.ask(ATTACH)

    assert accept.kind == "Access-Accept"
    assert accept.value("Acct-Interim-Interval") is None
    assert radius.fleet.names == ["ciotConnect"]


async def test_a_nas_that_sends_accounting_all_the_same_is_named_in_the_log(tmp_path: Path) -> None:
    """Once a minute at most; its Stop ends what its Accept began."""
    with capture_logs() as logs:
        async with radius_bench(tmp_path, radius={"nas": [NAS | {"accounting": False}]}) as radius:
            await radius.ask(ATTACH)
            for pause in (0, 59, 1):
                radius.fleet.clock.shift(pause)
                await radius.tell(STOP | {"Acct-Delay-Time": f"{pause}"})
    (hint, again) = [each["hint"] for each in logs if each["event"] == "radius_unexpected_accounting"]

    assert hint == again == "It has accounting = false in [[radius.nas]]: set it to true."
    assert radius.fleet.names == ["ciotConnect", "ciotDisconnect"]


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_each_nas_has_its_own_secret(tmp_path: Path, source: str) -> None:
    """And that of one is worth nothing from the address of another."""
    async with radius_bench(tmp_path, radius=BOTH) as radius:
        own, other = (SECRET, LENIENT["secret"]) if source == "127.0.0.1" else (LENIENT["secret"], SECRET)
        right = await radius.ask(ATTACH, source=source, secret=own)
        wrong = await radius.ask(ATTACH, source=source, secret=other, seconds=0.3)

    assert (right.kind, wrong.kind) == ("Access-Accept", "")


# ---- attributes that are wrong --------------------------------------------------------------------


async def test_a_short_location_costs_only_the_location(radius: RadiusBench) -> None:
    response = await radius.tell(START | {"3GPP-User-Location-Info": "0x8242f2"})

    assert response.kind == "Accounting-Response"
    assert "cellId" not in radius.fleet.told[0][1]
    assert radius.metric("radius_unreadable", "bad_location") == 1


async def test_an_imsi_that_is_none_is_none(radius: RadiusBench) -> None:
    """14 digits and a DEL; without it nothing proves the SIM that the device is configured with."""
    fields: dict[str, str | None] = {"3GPP-IMSI": None, "Attr-26.10415.1": "0x3234323031363030303030303030327f"}
    refused = await radius.ask({**ATTACH, **fields})

    assert refused.kind == "Access-Reject"
    assert radius.fleet.told[0][1]["reason"] == "noImsi"
    assert radius.metric("radius_unreadable", "bad_imsi") == 1


async def test_accounting_that_does_not_say_what_happened_is_dropped(radius: RadiusBench) -> None:
    """A status that nobody knows is answered, or it would come again and again."""
    client = radius.client(accounting=True)
    silent = await radius.silent(client, accounting_request(attribute(44, b"1")), accounting=True)

    assert silent
    assert radius.outcome("no_status_type") == 1
    assert radius.outcome("accounted") == 1
    assert radius.fleet.names == []


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


def asking(imsi: str = IMSI, **options: Any) -> bytes:
    """An Access-Request for a SIM."""
    return access_request(of_3gpp((1, imsi.encode())), **options)


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


# ---- when things go wrong -------------------------------------------------------------------------


async def test_accounting_waits_for_the_registry(tmp_path: Path) -> None:
    """No answer before it is written; meanwhile decisions go on, and no more answers wait than may."""
    async with radius_bench(tmp_path, radius={"waiting_answers": 1}) as radius:
        client, other = radius.client(accounting=True), radius.client(accounting=True)
        start = of_3gpp((1, IMSI.encode())) + attribute(44, b"1") + attribute(8, bytes((10, 64, 0, 11)))
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            client.send(accounting_request(start + attribute(40, bytes((0, 0, 0, 1)))))
            await until(lambda: radius.metric("radius_waiting_answers") == 1)
            other.send(accounting_request(UNKNOWN_STATUS, identifier=2))
            await until(lambda: radius.outcome("busy") == 1)
            decision = await radius.ask(ATTACH)
            waiting = radius.metric("radius_waiting_answers")
            writer.execute("ROLLBACK")
        answer = await client.receive()

    assert (decision.kind, waiting) == ("Access-Accept", 1)
    assert answer[:2] == bytes((Code.ACCOUNTING_RESPONSE, 1))


async def test_a_refusal_does_not_wait_for_the_registry(tmp_path: Path) -> None:
    """It changes nothing there, also where an Accept attaches."""
    async with radius_bench(tmp_path, radius={"nas": [NAS | {"accounting": False}]}) as radius:
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            let_in = await radius.ask(ATTACH, seconds=0.5)
            refused = await radius.ask(ATTACH | STRANGER)
            writer.execute("ROLLBACK")

    assert (let_in.kind, refused.kind) == ("", "Access-Reject")


async def test_an_address_of_the_pool_waits_for_the_registry(tmp_path: Path) -> None:
    """Else a restart could promise it twice; a refusal and a device's own address need not wait."""
    settings = {"pool": ("10.64.1.0/24",)}
    async with radius_bench(tmp_path, radius={"waiting_answers": 1}, cellular=settings) as radius:
        other = "242016000000002"
        await radius.fleet.devices.create(radius.device.collection, DeviceChange(imsi=other), cause=CAUSE)
        client = radius.client()
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            client.send(asking(other, identifier=1))
            await until(lambda: radius.metric("radius_waiting_answers") == 1)
            refused = await radius.ask(ATTACH | STRANGER)
            own = await radius.ask(ATTACH)
            client.send(asking(other, identifier=2))
            await until(lambda: radius.outcome("busy") == 1)
            writer.execute("ROLLBACK")
        answer = await client.receive()

    assert (refused.kind, own.kind) == ("Access-Reject", "Access-Accept")
    assert answer[:2] == bytes((Code.ACCESS_ACCEPT, 1))


async def test_without_a_registry_there_is_no_answer(tmp_path: Path) -> None:
    """The NAS asks again, and is answered when the registry works again."""
    async with radius_bench(tmp_path) as radius:
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as other:
            other.execute("ALTER TABLE cellular_sessions RENAME TO gone")
            lost = await radius.tell(START, seconds=0.5)
            sick = radius.listener.health
            other.execute("ALTER TABLE gone RENAME TO cellular_sessions")
        response = await radius.tell(START | {"Acct-Delay-Time": "5"})

    assert (lost.kind, response.kind) == ("", "Accounting-Response")
    assert sick.startswith("writing failed: ")
    assert radius.listener.health == "ok"
    assert radius.metric("radius_unwritten") == 1
    assert radius.fleet.names == ["ciotConnect"]


async def test_what_cannot_be_written_does_not_grow_without_bound(tmp_path: Path) -> None:
    """Sessions that come and go while the registry fails; decisions that change nothing go on."""
    async with radius_bench(tmp_path, cellular={"sessions": 2}) as radius:
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as other:
            other.execute("ALTER TABLE cellular_sessions RENAME TO gone")
            for number in range(4):
                session = {"Acct-Session-Id": f'"{number}"'}
                await radius.tell(START | session, seconds=0.3)
                await radius.tell(STOP | session, seconds=0.3)
            unwritten, busy = radius.fleet.gauge("cellular_unwritten"), radius.outcome("busy")
            decision = await radius.ask(ATTACH)
            other.execute("ALTER TABLE gone RENAME TO cellular_sessions")
        await radius.fleet.cellular.commit()
        response = await radius.tell(START)

    assert (unwritten, busy) == (2, 5)
    assert (decision.kind, response.kind) == ("Access-Accept", "Accounting-Response")


async def test_malformed_and_forged_requests_cost_nothing_but_a_count(radius: RadiusBench) -> None:
    """Two thousand on each port: nothing is answered, believed or remembered, and the log stays short."""
    generator = random.Random(4)
    genuine = {
        False: access_request(of_3gpp((1, IMSI.encode())), secret=b"guessed"),
        True: accounting_request(of_3gpp((1, IMSI.encode())) + UNKNOWN_STATUS, secret=b"guessed"),
    }
    with capture_logs() as logs:
        for accounting, template in genuine.items():
            client = radius.client(accounting=accounting)
            for _ in range(20):
                assert await radius.silent(
                    client, *(mutated(template, generator) for _ in range(100)), accounting=accounting
                )
    counted = [radius.outcome(name) for name in ("malformed", "wrong_code", "no_message_authenticator")]
    forged = [radius.outcome(name) for name in ("bad_message_authenticator", "bad_authenticator")]

    assert sum(counted) + sum(forged) == 4000
    assert min(*counted[:2], *forged) > 0
    assert radius.metric("radius_remembered_requests") == 1  # the last probe of accounting
    assert radius.outcome("accepted") == 0
    assert set(radius.fleet.names) <= {"ciotRejected"}
    assert len([each for each in logs if each["log_level"] != "debug"]) <= 6


def mutated(octets: bytes, generator: random.Random) -> bytes:
    """Change some octets, cut off some, or add some."""
    changed = bytearray(octets)
    for _ in range(generator.randrange(4)):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    if generator.random() < 0.3:
        del changed[generator.randrange(len(changed)) :]
    elif generator.random() < 0.3:
        changed += generator.randbytes(generator.randrange(50))
    return bytes(changed)


async def test_the_same_fault_is_logged_once_a_minute(radius: RadiusBench) -> None:
    """With the count so far and what to try; another fault has lines of its own."""
    client = radius.client()
    with capture_logs() as logs:
        for pause in (0, 59, 1, 0):
            radius.fleet.clock.shift(pause)
            await radius.silent(client, b"rubbish", access_request(signed=False))
    dropped = [each for each in logs if each["event"] == "radius_request_dropped"]
    lines = [(each["reason"], each["so_far"]) for each in dropped]

    assert lines == [
        *(("malformed", 1), ("no_message_authenticator", 1)),
        *(("malformed", 3), ("no_message_authenticator", 3)),
    ]
    assert {each["hint"].startswith("The octets break RFC 2865") for each in dropped[::2]} == {True}
    assert {each["hint"] for each in dropped[1::2]} == {CiotRejectedReason.MISSING_AUTHENTICATOR.hint}


async def test_the_log_says_which_address_no_nas_has(radius: RadiusBench) -> None:
    """What can be added as it is; a NAS that is none has no name."""
    with capture_logs() as logs:
        await radius.ask(ATTACH, source="127.0.0.3", seconds=0.3)
    (line,) = [each for each in logs if each["event"] == "radius_request_dropped"]

    assert (line["remote"], line["hint"]) == ("127.0.0.3", "Add 127.0.0.3 to [[radius.nas]].")
    assert "nas" not in line


@pytest.mark.usefixtures("at_debug")
async def test_the_log_shows_neither_secrets_nor_subscribers(tmp_path: Path) -> None:
    """Whatever is sent, and whatever is wrong with it; not even at DEBUG."""
    short = NAS | {"name": "pgw3", "addresses": ["127.0.0.3"], "secret": "tooshort"}
    with capture_logs() as logs:
        async with radius_bench(tmp_path, radius={"nas": [NAS, LENIENT, short]}) as radius:
            for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"):
                await asyncio.gather(
                    radius.ask(ATTACH | {"3GPP-User-Location-Info": "0x00"}, source=source, seconds=0.3),
                    radius.ask({**ATTACH, **SIGNATURE}, source=source, seconds=0.3),
                    radius.tell(START, source=source, seconds=0.3),
                )
            await radius.ask(ATTACH | STRANGER)
            await radius.ask(ATTACH | {"3GPP-IMSI": '"242016000000077"'})
            await radius.tell(STOP)
            await radius.silent(radius.client(), b"rubbish")
    shown = repr(logs)

    assert {"radius_secret_short", "radius_nas_unproven", "radius_request_dropped", "radius_unreadable"} <= {
        each["event"] for each in logs
    }
    for secret in (SECRET, LENIENT["secret"], "tooshort", "a password of the tests"):
        assert secret not in shown
    for number in (IMSI, "242016000000077", "242016000009999", IMEI, "4790000001"):
        assert number not in shown


async def test_a_port_that_is_taken_is_named_with_its_setting(tmp_path: Path) -> None:
    """Of the two the accounting port; and nothing stays bound."""
    async with radius_bench(tmp_path) as radius:
        settings = RadiusConfig.model_validate({"port": 0, "accounting_port": radius.accounting, "nas": [NAS]})
        taken = Radius(settings, cellular=radius.fleet.cellular, clock=radius.fleet.clock)
        with pytest.raises(ListenerUnavailable, match=f"cannot bind 127.0.0.1 port {radius.accounting}/udp") as caught:
            await taken.start()

    assert "SPAN_EVENTS_RADIUS__ACCOUNTING_PORT=0" in caught.value.hint


async def test_an_ipv6_socket_knows_an_ipv4_nas(tmp_path: Path) -> None:
    """By its IPv4 address."""
    async with radius_bench(tmp_path, radius={"host": "::"}) as radius:
        accept = await radius.ask(ATTACH)

    assert accept.kind == "Access-Accept"


async def test_a_burst_is_answered_completely(radius: RadiusBench) -> None:
    """200 sessions at once, in few transactions."""
    client = radius.client(accounting=True)
    for identifier in range(200):
        session = attribute(44, b"%d" % identifier) + of_3gpp((1, b"24201600001%04d" % identifier))
        address = attribute(8, bytes((10, 64, 1, identifier)))
        client.send(accounting_request(session + address + attribute(40, bytes((0, 0, 0, 1))), identifier=identifier))
    answered = {(await client.receive())[1] for _ in range(200)}
    (commits,) = [each.value() for each in radius.fleet.cellular.metrics() if each.name == "cellular_commits"]

    assert answered == set(range(200))
    assert isinstance(commits, int)
    assert commits < 100
