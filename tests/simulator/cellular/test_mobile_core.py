"""The simulated mobile core, against the codec of the real server over real sockets."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import pytest

from span_events.simulator.cellular import mobile_core
from span_events.simulator.cellular.mobile_core import AttachRefused, MobileCoreUnanswered
from span_events.simulator.cellular.modems import foreign_modem, modem_at
from span_events.wire.radius.packets import Attribute
from tests.bench.waiting import until
from tests.simulator.cellular.radius_server import CLASS, QUICK, STEADY, RadiusServer

MODEM = modem_at("127.78.0.1")


async def test_attaching_sends_an_access_request_and_then_a_start() -> None:
    with RadiusServer(addresses=["127.77.3.9"]) as server:
        core = server.core()
        await core.start()
        session = await core.attach(MODEM)

    assert session.address == "127.77.3.9"
    assert server.reported == [
        ("accounting-on", "", ""),
        ("ask", MODEM.imsi, ""),
        ("start", MODEM.imsi, "127.77.3.9"),
    ]


async def test_requests_have_the_attributes_of_a_real_mobile_core() -> None:
    """All fields that the server shows; accounting repeats the Class of the Access-Accept."""
    with RadiusServer() as server:
        core = server.core()
        await core.start()
        session = await core.attach(MODEM)

    _, (asked, mobile), (told, _) = server.requests
    assert mobile.imsi == MODEM.imsi
    assert mobile.equipment is not None
    assert (mobile.equipment.imei, mobile.equipment.software_version) == (MODEM.imei, "01")
    assert mobile.rat == "NB-IoT"
    assert mobile.network == ("001", "01")
    assert mobile.location is not None
    assert (mobile.location.network, mobile.location.area) == (mobile.network, 1)
    assert mobile.location.cell is not None
    assert mobile.notes == ()
    assert asked.address(Attribute.NAS_IP_ADDRESS) == "192.0.2.10"
    assert asked.text(Attribute.CALLED_STATION_ID) == "demo"
    assert told.value(Attribute.CLASS) == CLASS
    assert told.text(Attribute.ACCT_SESSION_ID) == session.id
    assert session.id.startswith("C000020A")  # 192.0.2.10, as 3GPP TS 29.061 has it
    assert told.number(Attribute.EVENT_TIMESTAMP)


async def test_a_rejected_modem_gets_no_accounting() -> None:
    with RadiusServer() as server:
        server.refused.add(MODEM.imsi)
        core = server.core()
        await core.start()
        with pytest.raises(AttachRefused, match="Not admitted"):
            await core.attach(MODEM)

    assert [what for what, _, _ in server.reported] == ["accounting-on", "ask"]
    assert core.sessions == {}


async def test_the_core_assigns_an_address_where_the_server_lets_it_choose() -> None:
    with RadiusServer(addresses=[]) as server:
        core = server.core()
        await core.start()
        with pytest.raises(AttachRefused, match="no IPv4 address"):
            await core.attach(MODEM)
        session = await core.attach(MODEM, choice="127.78.0.1")

    assert session.address == "127.78.0.1"
    assert server.reported[-1] == ("start", MODEM.imsi, "127.78.0.1")


async def test_a_core_may_insist_on_another_address_than_the_servers() -> None:
    with RadiusServer(addresses=["127.77.3.9", "127.77.3.10"]) as server:
        core = server.core()
        await core.start()
        first = await core.attach(MODEM, choice="127.78.0.1")
        second = await core.attach(MODEM, choice="127.78.0.1", insist=True)

    assert (first.address, second.address) == ("127.77.3.9", "127.78.0.1")


async def test_a_stop_has_cause_and_duration() -> None:
    with RadiusServer() as server:
        core = server.core()
        await core.start()
        session = await core.attach(MODEM)
        await core.detach(session)
        await core.detach(session)

    assert [what for what, _, _ in server.reported][2:] == ["start", "stop"]
    stop, _ = server.requests[-1]
    assert stop.text(Attribute.ACCT_SESSION_ID) == session.id
    assert stop.number(Attribute.ACCT_TERMINATE_CAUSE) == 1
    assert stop.number(Attribute.ACCT_SESSION_TIME) == 0
    assert not session.is_open


async def test_a_restart_ends_every_session_and_attaching_waits_for_its_end() -> None:
    with RadiusServer(addresses=["127.77.3.1", "127.77.3.2"]) as server:
        core = server.core()
        await core.start()
        before = await core.attach(MODEM)
        restarting = asyncio.create_task(core.restart(0.01))
        await until(lambda: server.reported[-1][0] == "accounting-off")
        after = await core.attach(MODEM)
        await restarting

    assert [what for what, _, _ in server.reported][3:] == ["accounting-off", "accounting-on", "ask", "start"]
    assert not before.is_open
    assert list(core.sessions.values()) == [after]


async def test_a_session_started_while_the_core_goes_down_is_not_open() -> None:
    """The server has ended it, or never received its Start."""
    with RadiusServer() as server:
        core = server.core(patience=STEADY)
        await core.start()
        server.unanswered.add("start")
        attaching = asyncio.create_task(core.attach(MODEM))
        await until(lambda: server.reported[-1][0] == "start")
        server.unanswered.clear()
        await core.stop()
        with pytest.raises(AttachRefused, match="went down meanwhile"):
            await attaching

    assert core.sessions == {}


async def test_an_unanswering_server_is_named_with_a_hint() -> None:
    with RadiusServer() as server:
        core = server.core(secret=b"another secret", patience=QUICK)
        with pytest.raises(MobileCoreUnanswered, match=f"127.0.0.1:{server.accounting.address[1]}/udp") as caught:
            await core.start()

    assert server.dropped == 2
    assert server.reported == []
    assert "secret" in caught.value.hint


async def test_interim_updates_are_sent_at_the_interval_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobile_core, "_LOOK", 0.001)
    with RadiusServer(interim_interval=1) as server:
        core = server.core()
        await core.start()
        session = await core.attach(MODEM)
        running = asyncio.create_task(core.run())
        session.reported -= 1.0
        await until(lambda: server.reported[-1][0] == "interim-update")
        seen = server.reported[-1]
        running.cancel()
        await asyncio.wait((running,))

    assert session.interim_interval == 1
    assert seen == ("interim-update", MODEM.imsi, session.address)
    assert [what for what, _, _ in server.reported].count("interim-update") == 1


async def test_a_request_with_another_secret_does_not_affect_the_right_one() -> None:
    with RadiusServer() as server:
        core = server.core(patience=STEADY)
        await core.start()
        answered = await core.ask_with(b"another secret", MODEM)
        session = await core.attach(MODEM)

    assert not answered
    assert server.dropped == 1
    assert session.is_open


async def test_session_ids_of_different_cores_differ() -> None:
    """Each session has its own id."""
    with RadiusServer(addresses=["127.77.3.1", "127.77.3.2"]) as server:
        core = server.core()
        await core.start()
        first, second = await core.attach(foreign_modem()), await core.attach(foreign_modem())

    assert first.id != second.id
    assert IPv4Address(int(first.id[:8], 16)) == IPv4Address("192.0.2.10")
