"""DTLS sessions in the fleet; the handshakes belong to the listeners."""

from __future__ import annotations

from span_events.events.activity import UNATTRIBUTED
from span_events.events.catalogue import ClientRejected
from span_events.events.message import Transport
from span_events.events.reasons import ClientRejectedReason, DisconnectReason
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.devices.sessions import Session
from span_events.net import render_remote
from span_events.registry.model import Certificate, Device
from tests.bench.fleets import CAUSE, FleetBench

REMOTE = ("198.51.100.7", 40_000)
SHOWN = "198.51.100.7:40000"


def connect(bench: FleetBench, device: Device, ended: list[DisconnectReason], *, serial: int | None = 4711) -> Session:
    """Open a session."""
    return bench.reception.sessions.connected(
        device,
        REMOTE,
        transport=Transport.DTLS,
        cipher="ECDHE-ECDSA-AES128-GCM-SHA256",
        handshake_ms=12,
        retransmissions=1,
        certificate_serial=serial,
        close=ended.append,
    )


async def test_messages_of_a_session_belong_to_it(bench: FleetBench) -> None:
    """Messages belong to the DTLS session, not to a session over plain UDP, and refresh it."""
    device = await bench.device()
    session = connect(bench, device, [])
    bench.clock.shift(899)
    bench.reception.received(device, b"x", remote=REMOTE, transport=Transport.DTLS, local_port=1234, session=session)
    bench.clock.shift(899)
    bench.reception.sweep()

    assert bench.names == ["clientConnected", "upstreamMessage"]
    assert {each.session_id for each in bench.events} == {session.id}


async def test_each_session_ends_separately(bench: FleetBench) -> None:
    """Two sessions of one device: the end of one is published once, and does not close the other."""
    device = await bench.device()
    ended: list[DisconnectReason] = []
    first, second = connect(bench, device, ended), connect(bench, device, ended)
    bench.drain()
    bench.reception.sessions.disconnected(first, DisconnectReason.CLOSE_NOTIFY)
    bench.reception.sessions.disconnected(first, DisconnectReason.CLOSE_NOTIFY)

    assert bench.drain() == [
        ("clientDisconnected", {"reason": "closeNotify", "transport": "dtls", "remoteAddress": SHOWN})
    ]
    assert ended == []
    assert len(bench.reception.sessions) == 1
    await bench.devices.update(device, DeviceChange(enabled=False), cause=CAUSE)
    assert ended == [DisconnectReason.DEVICE_DISABLED]
    assert second.id != first.id


async def test_a_revoked_certificate_ends_its_sessions_only(bench: FleetBench) -> None:
    """Others of the device go on."""
    device = await bench.device()
    ended: list[DisconnectReason] = []
    for serial in (1, 2, None):
        connect(bench, device, ended, serial=serial)
    bench.reception.sessions.certificate_revoked(2)
    bench.reception.sessions.psk_changed(device)

    assert ended == [DisconnectReason.CERTIFICATE_REVOKED, DisconnectReason.PSK_CHANGED]
    assert len(bench.reception.sessions) == 1


async def test_a_session_does_not_outlive_its_certificate(bench: FleetBench) -> None:
    """Even a busy session ends; a session with a longer valid certificate continues."""
    device = await bench.device()
    now_ms = bench.clock.time_ns() // 1_000_000
    for serial, seconds in ((1, 100), (2, 10_000)):
        bench.directory.put_certificate(
            Certificate(serial, device.collection.id, device.id, None, now_ms, now_ms + seconds * 1000)
        )
    ended: list[DisconnectReason] = []
    for rests_on in (1, 2, None):
        connect(bench, device, ended, serial=rests_on)
    bench.clock.shift(99)
    bench.reception.sweep()
    before = list(ended)
    bench.clock.shift(30)
    bench.reception.sweep()

    assert (before, ended) == ([], [DisconnectReason.CERTIFICATE_EXPIRED])
    assert len(bench.reception.sessions) == 2


async def test_rejections_of_clients_are_throttled_per_host_and_reason(bench: FleetBench) -> None:
    """A burst one by one, then one with a count when the window ends."""
    for reason in (*[ClientRejectedReason.NO_CREDENTIALS] * 5, ClientRejectedReason.UNKNOWN_CA):
        bench.reception.rejections.client_rejected(
            ClientRejected(
                origin=UNATTRIBUTED, reason=reason, transport=Transport.DTLS, remote_address=render_remote(REMOTE)
            )
        )
    bench.clock.shift(60)
    bench.reception.sweep()

    assert [data.get("count") for _, data in bench.published] == [None, None, None, None, "2"]
    assert {reason: count for reason, count in bench.reception.rejections.clients.items() if count} == {
        "noCredentials": 5,
        "unknownCa": 1,
    }


async def test_the_sessions_of_some_transports_can_end_alone(bench: FleetBench) -> None:
    """Of one device; the others go on."""
    device, other = await bench.device(), await bench.device()
    ended: list[DisconnectReason] = []
    for each in (device, other):
        connect(bench, each, ended)
        bench.reception.sessions.contacted(each, REMOTE, transport=Transport.UDP)
    bench.drain()
    bench.reception.sessions.end(device, DisconnectReason.DEVICE_DISABLED, CAUSE, transports={Transport.UDP})

    assert bench.drain() == [
        ("clientDisconnected", {"reason": "deviceDisabled", "transport": "udp", "remoteAddress": SHOWN})
    ]
    assert (ended, len(bench.reception.sessions)) == ([], 3)
    bench.reception.sessions.end(device, DisconnectReason.DEVICE_DISABLED, CAUSE)
    assert (ended, len(bench.reception.sessions)) == ([DisconnectReason.DEVICE_DISABLED], 2)


def test_an_ipv6_remote_is_written_with_brackets() -> None:
    """RFC 3986 §3.2.2."""
    assert (render_remote(("10.0.0.1", 7)), render_remote(("::1", 7))) == ("10.0.0.1:7", "[::1]:7")
