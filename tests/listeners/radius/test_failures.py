"""Failures of RADIUS: a failing registry, malformed requests, and their log lines."""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from span_events.config import RadiusConfig
from span_events.errors import ListenerUnavailable
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.devices.devices import DeviceChange
from span_events.listeners.radius.listener import Radius
from span_events.wire.radius.packets import Code
from tests.bench.fleets import CAUSE
from tests.bench.peers.radclient import ATTACH, SECRET, START, STOP
from tests.bench.waiting import until
from tests.listeners.radius.bench import (
    IMEI,
    IMSI,
    LENIENT,
    NAS,
    SIGNATURE,
    STRANGER,
    UNKNOWN_STATUS,
    RadiusBench,
    asking,
    radius_bench,
    reporting,
)
from tests.wire.radius.building import access_request, accounting_request, attribute, of_3gpp


@pytest.fixture
def at_debug() -> Iterator[None]:
    """Logging at its lowest level, independent of earlier tests."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    yield
    structlog.configure(**before)


async def test_accounting_waits_for_the_registry(tmp_path: Path) -> None:
    """No answer before the write; meanwhile decisions are answered, and the waiting answers are bounded."""
    async with radius_bench(tmp_path, radius={"waiting_answers": 1}) as radius:
        client, other = radius.client(accounting=True), radius.client(accounting=True)
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            client.send(reporting(1))
            await until(lambda: radius.metric("radius_waiting_answers") == 1)
            other.send(accounting_request(UNKNOWN_STATUS, identifier=2))
            await until(lambda: radius.outcome("busy") == 1)
            decision = await radius.ask(ATTACH)
            waiting = radius.metric("radius_waiting_answers")
            writer.execute("ROLLBACK")
        answer = await client.receive()

    assert (decision.kind, waiting) == ("Access-Accept", 1)
    assert answer[:2] == bytes((Code.ACCOUNTING_RESPONSE, 1))


async def test_a_reject_does_not_wait_for_the_registry(tmp_path: Path) -> None:
    """It writes nothing, also where an Access-Accept starts the attachment."""
    async with radius_bench(tmp_path, radius={"nas": [NAS | {"accounting": False}]}) as radius:
        client = radius.client()
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            client.send(asking())
            await until(lambda: radius.metric("radius_waiting_answers") == 1)
            refused = await radius.ask(ATTACH | STRANGER)
            early = client.take()
            writer.execute("ROLLBACK")
        answer = await client.receive()

    assert (refused.kind, early) == ("Access-Reject", None)
    assert answer[:2] == bytes((Code.ACCESS_ACCEPT, 1))


async def test_an_accept_with_a_pool_address_waits_for_the_registry(tmp_path: Path) -> None:
    """Otherwise a restarted server could assign it twice; a reject and a static address do not wait."""
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


async def test_without_a_registry_accounting_is_not_answered(tmp_path: Path) -> None:
    """The NAS retransmits, and is answered when the registry works again."""
    async with radius_bench(tmp_path) as radius:
        client = radius.client(accounting=True)
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as other:
            other.execute("ALTER TABLE cellular_sessions RENAME TO gone")
            client.send(reporting(1))
            await until(lambda: radius.metric("radius_unwritten") == 1)
            sick = radius.listener.health
            other.execute("ALTER TABLE gone RENAME TO cellular_sessions")
        client.send(reporting(1, identifier=2))
        answer = await client.receive()

    assert answer[:2] == bytes((Code.ACCOUNTING_RESPONSE, 2))
    assert sick.startswith("writing failed: ")
    assert radius.listener.health == "ok"
    assert radius.metric("radius_unwritten") == 1
    assert radius.fleet.names == ["ciotConnect"]


async def test_unwritten_changes_are_bounded(tmp_path: Path) -> None:
    """Attachments start and end while the registry fails; decisions without a write go on."""
    async with radius_bench(tmp_path, cellular={"sessions": 2}) as radius:
        client = radius.client(accounting=True)
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as other:
            other.execute("ALTER TABLE cellular_sessions RENAME TO gone")
            for number in range(8):
                client.send(reporting(1 + number % 2, session=str(number // 2), identifier=number))
                await until(lambda: radius.metric("radius_unwritten") + radius.outcome("busy") == number + 1)  # noqa: B023  # called within this turn
            unwritten, busy = radius.fleet.gauge("cellular_unwritten"), radius.outcome("busy")
            decision = await radius.ask(ATTACH)
            other.execute("ALTER TABLE gone RENAME TO cellular_sessions")
        await radius.fleet.cellular.commit()
        response = await radius.tell(START)
        lost = client.take()

    assert (unwritten, busy, lost) == (2, 5, None)
    assert (decision.kind, response.kind) == ("Access-Accept", "Accounting-Response")


async def test_malformed_and_forged_requests_are_only_counted(radius: RadiusBench) -> None:
    """Two thousand on each port: none is answered, accepted or stored, and the log stays short."""
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
    """Change, cut off or add octets."""
    changed = bytearray(octets)
    for _ in range(generator.randrange(4)):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    if generator.random() < 0.3:
        del changed[generator.randrange(len(changed)) :]
    elif generator.random() < 0.3:
        changed += generator.randbytes(generator.randrange(50))
    return bytes(changed)


async def test_the_same_fault_is_logged_once_a_minute(radius: RadiusBench) -> None:
    """With the count so far and a hint; another fault has its own lines."""
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


async def test_the_log_names_the_address_of_an_unknown_nas(radius: RadiusBench) -> None:
    """It can be copied into the configuration; an unknown NAS has no name."""
    with capture_logs() as logs:
        assert await radius.silent(radius.client("127.0.0.3"), asking())
    (line,) = [each for each in logs if each["event"] == "radius_request_dropped"]

    assert (line["remote"], line["hint"]) == ("127.0.0.3", "Add 127.0.0.3 to [[radius.nas]].")
    assert "nas" not in line


@pytest.mark.usefixtures("at_debug")
async def test_the_log_shows_neither_secrets_nor_subscribers(tmp_path: Path) -> None:
    """For all requests and faults, at DEBUG too."""
    short = NAS | {"name": "pgw3", "addresses": ["127.0.0.3"], "secret": "tooshort"}
    with capture_logs() as logs:
        async with radius_bench(tmp_path, radius={"nas": [NAS, LENIENT, short]}) as radius:
            requests = [
                each
                for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
                for each in (
                    radius.ask(ATTACH | {"3GPP-User-Location-Info": "0x00"}, source=source, seconds=0.3),
                    radius.ask({**ATTACH, **SIGNATURE}, source=source, seconds=0.3),
                    radius.tell(START, source=source, seconds=0.3),
                )
            ]
            await asyncio.gather(*requests)
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
    """Here the accounting port; no other port stays bound."""
    async with radius_bench(tmp_path) as radius:
        settings = RadiusConfig.model_validate({"port": 0, "accounting_port": radius.accounting, "nas": [NAS]})
        taken = Radius(settings, cellular=radius.fleet.cellular, clock=radius.fleet.clock)
        with pytest.raises(ListenerUnavailable, match=f"cannot bind 127.0.0.1 port {radius.accounting}/udp") as caught:
            await taken.start()

    assert "SPAN_EVENTS_RADIUS__ACCOUNTING_PORT=0" in caught.value.hint


async def test_an_ipv6_socket_recognizes_an_ipv4_nas(tmp_path: Path) -> None:
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
