"""Findings of the field about what the stream tells of DTLS clients: whose, which step, why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from span_events.config import SessionsConfig
from span_events.events.activity import UNATTRIBUTED
from span_events.events.reasons import ClientRejectedReason, MessageRejectedReason
from tests.bench.fleets import CAUSE
from tests.bench.waiting import until
from tests.faults.secure import SecureScene, shown
from tests.listeners.dtls.bench import DtlsBench, dtls_bench

STALE: Final = bytes.fromhex("17fefd00010000000000050003616263")
"""A record of application data with keys that nobody has."""
_OUTSIDE: Final = "0"
"""Unix seconds of a device's clock that starts in 1970."""


async def test_diagnosis_02_a_refusal_belongs_to_the_device_of_the_proven_address(secure: SecureScene) -> None:
    """A token for the collection sees it; the data say that only the address tells whose it is."""
    attempt = await secure.try_s_client("-cipher", "AES128-SHA256")
    event = await secure.scene.tail.until("clientRejected", remoteAddress=attempt.remote)

    assert event["data"]["reason"] == ClientRejectedReason.NO_SHARED_CIPHER
    assert event["data"]["attributedBy"] == "address"
    assert {"collectionId": event["collectionId"], "deviceId": event["deviceId"]} == secure.device


async def test_diagnosis_02_plain_coap_on_the_port_of_coaps_belongs_to_the_device_of_its_address(
    secure: SecureScene,
) -> None:
    """As malformed CoAP does."""
    scene = secure.scene
    with closing(scene.server.socket_at(scene.device.address, "coaps")) as device:
        device.send(bytes.fromhex("4002010101"))
        data = await scene.rejected(MessageRejectedReason.MALFORMED)

    assert data["transport"] == "coaps"


async def test_diagnosis_07_the_validity_of_the_servers_certificate_is_told(secure: SecureScene) -> None:
    """F47: the clock of the device shows 1970."""
    attempt = await secure.try_s_client(*shown(secure.credentials), "-attime", _OUTSIDE)
    data = await secure.rejected(ClientRejectedReason.CLIENT_ALERT, attempt)

    assert data["detail"].startswith("bad certificate; the server's certificate is valid from 20")
    assert "clock" in ClientRejectedReason.CLIENT_ALERT.hint


# ---- records without a session ---------------------------------------------------------------


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[DtlsBench]:
    async with dtls_bench(tmp_path) as started:
        yield started


async def test_diagnosis_01_a_session_at_the_same_host_does_not_make_its_device_the_sender(bench: DtlsBench) -> None:
    """F41: two devices of two collections behind one NAT, after a restart; a wrong device is worse than none."""
    await bench.client().connect()
    bench.fleet.clock.shift(5.0)
    stranger = bench.raw()
    await bench.published(1)
    stranger.send(STALE)
    await until(lambda: bool(bench.fleet.activities))
    event = bench.fleet.events[-1]
    ((name, data),) = bench.fleet.drain()

    assert (name, data["reason"]) == ("messageRejected", "noSession")
    assert event.origin == UNATTRIBUTED
    assert data["detail"].startswith("a guess: the only session at this address has 127.0.0.1:")


async def test_diagnosis_04_a_server_that_started_lately_says_so(bench: DtlsBench) -> None:
    """F42: the sessions from before are gone."""
    bench.fleet.clock.shift(7.0)
    bench.raw().send(STALE)
    ((_, data),) = await bench.published(1)

    assert data["detail"] == "this server started 7 s ago: sessions from before are gone; handshake again"
    assert "Connection ID" not in MessageRejectedReason.NO_SESSION.hint


@pytest.mark.parametrize("reason", ["closeNotify", "idleTimeout"])
async def test_diagnosis_04_a_session_that_ended_at_that_address_is_named(bench: DtlsBench, reason: str) -> None:
    """How long ago, and why; the event belongs to its device."""
    client = await bench.client().connect()
    if reason == "closeNotify":
        client.leave()
    else:
        bench.fleet.clock.shift(SessionsConfig().idle_timeout + 1)
        bench.fleet.reception.sessions.sweep()
    assert await bench.names(2) == ["clientConnected", "clientDisconnected"]
    bench.fleet.clock.shift(3.0)
    client.send(STALE)
    await until(lambda: bool(bench.fleet.activities))
    event = bench.fleet.events[-1]
    ((_, data),) = bench.fleet.drain()

    assert (data["reason"], data["endReason"], data["endedSecondsAgo"]) == ("noSession", reason, "3")
    assert event.origin == bench.device.origin


async def test_diagnosis_04_an_ended_session_of_a_removed_device_is_not_told(bench: DtlsBench) -> None:
    """The device has left the registry."""
    client = await bench.client().connect()
    await bench.names(1)
    await bench.fleet.devices.remove(bench.device, cause=CAUSE)
    await until(lambda: bench.dtls.sessions == 0)
    bench.fleet.drain()
    client.send(STALE)
    await until(lambda: bool(bench.fleet.activities))
    event = bench.fleet.events[-1]
    ((_, data),) = bench.fleet.drain()

    assert "endReason" not in data
    assert event.origin == UNATTRIBUTED
