"""Identification of gateways, and the events of their sessions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from span_events.events.activity import UNATTRIBUTED, Severity, severity_of
from span_events.events.catalogue import GatewayCommError, GatewayRejected
from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.net import render_remote
from span_events.proto import gateway_pb2 as pb
from tests.bench.clock import START_NS
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import FakeGateway, behind, online, roof

NOW_MS = START_NS // 1_000_000
DAY = 86_400


# ---- rejections ----------------------------------------------------------------------------------


async def test_repeated_rejections_are_published_as_one_summary(bench: FleetBench) -> None:
    """Per host, reason and owner; a summary follows at the end of the window."""
    gateway = await roof(bench)
    publish = bench.gateway_sessions.rejected
    not_tls = GatewayRejected(
        origin=UNATTRIBUTED, reason=GatewayRejectedReason.NOT_TLS, remote_address="", detail="http", stage="tls"
    )
    for port in range(1000):
        publish(replace(not_tls, remote_address=f"10.0.0.1:{port}"))
    publish(replace(not_tls, remote_address="10.0.0.2:1"))
    revoked = GatewayRejectedReason.CERTIFICATE_REVOKED
    publish(GatewayRejected(origin=gateway.origin, reason=revoked, remote_address="10.0.0.1:1"))
    first = bench.drain()
    bench.clock.shift(61)
    bench.gateway_sessions.sweep()

    assert [(name, data["reason"], data["remoteAddress"]) for name, data in first] == [
        *[("gatewayRejected", "notTls", f"10.0.0.1:{port}") for port in range(3)],  # rejections.burst
        ("gatewayRejected", "notTls", "10.0.0.2:1"),
        ("gatewayRejected", "certificateRevoked", "10.0.0.1:1"),
    ]
    assert first[0][1] == {"detail": "http", "reason": "notTls", "remoteAddress": "10.0.0.1:0", "stage": "tls"}
    assert [(data["reason"], data["count"]) for _, data in bench.drain()] == [("notTls", "997")]
    metrics = {each.name: each.value() for each in bench.gateway_sessions.metrics()}
    assert metrics["gateway_rejections"] == {"notTls": 1001, "certificateRevoked": 1}


# ---- connected, and gone -------------------------------------------------------------------------


async def test_a_session_publishes_its_start_and_its_end(bench: FleetBench) -> None:
    """Both events carry the session's id; the status of the gateway is always correct."""
    gateway = await roof(bench)
    record = (await bench.certificates.create(gateway)).record
    before = gateway.status
    fake = FakeGateway(bench, gateway, serial=record.serial)
    during = gateway.status
    bench.clock.shift(90)
    fake.upstream(await behind(bench, gateway))
    bench.activities.pop(1)  # deviceCreated
    bench.gateway_sessions.ended(fake.session, GatewayReason.CLOSED)
    bench.gateway_sessions.ended(fake.session, GatewayReason.CONNECTION_RESET, detail="late")

    assert [before, during, gateway.status] == ["offline", "online", "offline"]
    assert bench.published[0] == (
        "gatewayConnected",
        {
            "certificateSerial": str(record.serial),
            "notAfter": "2024-05-09 20:23:36",
            "remoteAddress": "10.1.0.1:5000",
            "tlsVersion": "TLSv1.3",
            "userAgent": "test/1",
        },
    )
    assert bench.published[-1] == (
        "gatewayDisconnected",
        {"duration": "90", "messagesDown": "0", "messagesUp": "1", "reason": "closed", "undelivered": "0"},
    )
    assert {each.session_id for each in bench.events} == {fake.session.id}
    assert {each.origin.gateway_id for each in bench.events} == {gateway.id}
    assert bench.names.count("gatewayDisconnected") == 1


async def test_an_abnormal_end_is_published_as_an_error_first(bench: FleetBench) -> None:
    """F35."""
    fake = online(bench, await roof(bench))
    bench.gateway_sessions.ended(
        fake.session, GatewayReason.KEEPALIVE_TIMEOUT, detail="nothing came for 9 s", seconds=9
    )
    error, end = bench.published

    assert error == (
        "gatewayCommError",
        {"error": "nothing came for 9 s", "reason": "keepaliveTimeout", "seconds": "9"},
    )
    assert (end[0], end[1]["reason"], end[1]["detail"]) == (
        "gatewayDisconnected",
        "keepaliveTimeout",
        "nothing came for 9 s",
    )


async def test_the_newer_connection_wins(bench: FleetBench) -> None:
    """F37: the old session ends first; later input from its connection changes nothing."""
    gateway = await roof(bench)
    old = online(bench, gateway)
    new = FakeGateway(bench, gateway)
    told = bench.drain()
    old.configure()
    bench.gateway_sessions.ended(old.session, GatewayReason.CONNECTION_RESET)

    assert [(name, data.get("reason"), data.get("replaced")) for name, data in told] == [
        ("gatewayDisconnected", "replaced", None),
        ("gatewayConnected", None, "true"),
    ]
    assert old.link.ends == [GatewayReason.REPLACED]
    assert (old.take(), bench.names) == ([], [])
    assert gateway.is_online
    assert len(bench.gateway_sessions) == 1
    new.configure()
    assert [part for part, _ in new.take()] == ["gateway_update"]


@pytest.mark.parametrize("addresses", [["10.1.0.1"], ["10.1.0.1", "10.2.0.2"]])
async def test_a_copied_certificate_is_reported(bench: FleetBench, addresses: list[str]) -> None:
    """More than three replacements in a minute, from one address or two: a warning with both ports, then a count."""
    gateway = await roof(bench)
    gateways = []
    for number in range(8):
        gateways.append(FakeGateway(bench, gateway, address=addresses[number % len(addresses)]))
        bench.clock.shift(1)
    (event,) = [each for each in bench.events if isinstance(each, GatewayCommError)]
    bench.clock.shift(61)
    bench.gateway_sessions.sweep()
    (summary,) = [each for each in bench.events if isinstance(each, GatewayCommError) and each is not event]

    remotes = [render_remote(each.session.remote) for each in gateways[3:5]]
    assert (event.reason, severity_of(event)) == (GatewayReason.IDENTITY_CONFLICT, Severity.WARNING)
    assert event.error == f"connections from {remotes[0]} and {remotes[1]} replace each other"
    assert summary.count == 3


async def test_a_contested_gateway_keeps_its_connection_for_a_minute(bench: FleetBench) -> None:
    """After four replacements in a minute; a gateway that is not connected is always let in."""
    gateway = await roof(bench)
    for _ in range(4):
        last = FakeGateway(bench, gateway)
        assert bench.gateway_sessions.conflict(gateway) == ""
        bench.clock.shift(1)
    last = FakeGateway(bench, gateway)
    contested = bench.gateway_sessions.conflict(gateway)
    bench.clock.shift(59)
    later = bench.gateway_sessions.conflict(gateway)
    bench.gateway_sessions.ended(last.session, GatewayReason.CONNECTION_RESET)

    assert contested.startswith(f"{render_remote(last.session.remote)} is connected with it")
    assert (later, bench.gateway_sessions.conflict(gateway)) == ("", "")


async def test_rare_replacements_are_no_conflict(bench: FleetBench) -> None:
    """Replacements at long intervals."""
    gateway = await roof(bench)
    for number in range(8):
        FakeGateway(bench, gateway, address=f"10.1.0.{number}")
        bench.clock.shift(61)
        bench.gateway_sessions.sweep()

    assert "gatewayCommError" not in bench.names


async def test_a_session_ends_with_its_certificate(bench: FleetBench) -> None:
    """TLS checks a certificate once; a revocation ends the session at once, an expiry at the next sweep."""
    gateway = await roof(bench)
    first, second = [(await bench.certificates.create(gateway)).record.serial for _ in range(2)]
    fake = FakeGateway(bench, gateway, serial=first)
    await bench.certificates.revoke(gateway.collection, second)
    assert gateway.is_online
    await bench.certificates.revoke(gateway.collection, first)
    third = (await bench.certificates.create(gateway)).record.serial
    again = FakeGateway(bench, gateway, serial=third)
    bench.clock.shift(15 * DAY)
    bench.gateway_sessions.sweep()

    assert fake.link.ends == [GatewayReason.CERTIFICATE_REVOKED]
    assert again.link.ends == [GatewayReason.CERTIFICATE_EXPIRED]
    assert not gateway.is_online
    assert "gatewayCommError" not in bench.names


async def test_the_use_of_a_certificate_near_its_expiry_is_reported(bench: FleetBench) -> None:
    """F22, for gateways."""
    gateway = await roof(bench)
    serial = (await bench.certificates.create(gateway)).record.serial
    bench.clock.shift(12 * DAY)
    FakeGateway(bench, gateway, serial=serial)

    assert bench.names == ["gatewayConnected", "certificateExpiring"]
    assert bench.events[1].origin == gateway.origin


async def test_disabling_a_collection_disconnects_its_gateways(bench: FleetBench) -> None:
    """Gateways of other collections stay connected."""
    gateway, other = await roof(bench), await roof(bench)
    fake, stays = online(bench, gateway), online(bench, other)
    await bench.collections.update(gateway.collection, CollectionChange(enabled=False), cause=CAUSE)

    assert fake.link.ends == [GatewayReason.GATEWAY_DISABLED]
    assert (gateway.is_online, stays.link.ends, other.is_online) == (False, [], True)
    assert [each.correlation_id for each in bench.events] == [CAUSE]


async def test_a_hanging_program_is_reported_once(bench: FleetBench) -> None:
    """Its library answers pings, so the stream stays; one report is enough until the next message."""
    fake = online(bench, await roof(bench))
    for _ in range(5):
        bench.clock.shift(100)
        bench.gateway_sessions.sweep()
    silent = bench.drain()
    fake.say(keepalive=pb.Keepalive())
    bench.clock.shift(131)
    bench.gateway_sessions.sweep()

    assert [(name, data["reason"], data["seconds"]) for name, data in silent] == [
        ("gatewayCommError", "applicationSilent", "200")
    ]
    assert [data["seconds"] for _, data in bench.published] == ["131"]
    assert fake.link.ends == []


@pytest.mark.parametrize(
    ("reason", "side"),
    [
        (GatewayReason.CLOSED, "gateway"),
        (GatewayReason.CONNECTION_RESET, "network"),
        (GatewayReason.TOO_MANY_FRAMES, "server"),
    ],
)
async def test_the_log_says_which_side_ended_a_session(bench: FleetBench, reason: GatewayReason, side: str) -> None:
    """With the address and the detail."""
    gateway = online(bench, await roof(bench))
    with capture_logs() as lines:
        bench.gateway_sessions.ended(gateway.session, reason, detail="so it was")

    (line,) = [each for each in lines if each["event"] == "gateway_session_ended"]
    assert (line["ended_by"], line["detail"], line["reason"]) == (side, "so it was", reason.value)
