"""F35: a gateway vanishes without a word, or freezes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from span_events.events.reasons import GatewayReason
from tests.bench.live import LiveServer
from tests.bench.waiting import until
from tests.faults.gateway_scene import GatewayScene

SETTINGS = {"gateways.keepalive_interval": 0.7, "gateways.keepalive_timeout": 0.7}
NOTICED = ("1", "2")
"""Seconds of silence that are told: 1.4, and a busy computer may add some."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that asks silent gateways sooner than by default."""
    with LiveServer(tmp_path_factory.mktemp("server"), SETTINGS) as started:
        yield started


async def test_a_gateway_that_vanishes_is_missed(gate: GatewayScene) -> None:
    """No packet of it comes any longer, not even an acknowledgement: its power or its network has gone."""
    client = await gate.raw()
    client.vanish()
    status = await gate.gateway.status()
    error, _ = await gate.lost(GatewayReason.KEEPALIVE_TIMEOUT)

    assert status == "online"
    assert error["seconds"] in NOTICED
    assert error["error"] == f"nothing came for {error['seconds']} s"


async def test_a_frozen_gateway_is_missed(gate: GatewayScene) -> None:
    """Its kernel goes on and takes everything; its program finds out when it goes on."""
    async with gate.program() as program:
        program.do("connect")
        await gate.scene.tail.until("gatewayConnected")
        program.send_signal(signal.SIGSTOP)
        error, _ = await gate.lost(GatewayReason.KEEPALIVE_TIMEOUT)
        program.send_signal(signal.SIGCONT)
        ended = await program.hears()

    assert error["seconds"] in NOTICED
    assert ended["ended"] == "UNAVAILABLE"


async def test_a_gateway_that_only_answers_is_not_missed(gate: GatewayScene) -> None:
    """Whoever has nothing to say may be silent for as long as it likes."""
    client = await gate.raw()
    await until(lambda: client.grpc.pings >= 3)
    names = await gate.scene.names_until_now()

    assert names == []
    assert await gate.gateway.status() == "online"
