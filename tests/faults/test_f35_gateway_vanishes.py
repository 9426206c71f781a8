"""F35: a gateway vanishes, or freezes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from span_events.events.reasons import GatewayReason
from tests.bench.live import LiveServer
from tests.bench.waiting import until
from tests.faults.gateway_scene import GatewayScene

SETTINGS = {"gateways.keepalive_interval": 0.3, "gateways.keepalive_timeout": 2.0}
"""Seconds; the second is generous, as a gateway on a busy machine answers late."""
NOTICED = 2
"""Reported seconds of silence, at least: 2.3 in whole seconds."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that pings silent gateways earlier than by default."""
    with LiveServer(tmp_path_factory.mktemp("server"), SETTINGS) as started:
        yield started


async def test_a_gateway_that_vanishes_is_missed(gate: GatewayScene) -> None:
    """No packet of the gateway arrives, not even an acknowledgement: its power or its network failed."""
    client = await gate.raw()
    client.vanish()
    status = await gate.gateway.status()
    error, _ = await gate.lost(GatewayReason.KEEPALIVE_TIMEOUT)

    assert status == "online"
    assert int(error["seconds"]) >= NOTICED
    assert error["error"] == f"nothing came for {error['seconds']} s"


async def test_a_frozen_gateway_is_missed(gate: GatewayScene) -> None:
    """Its kernel continues and acknowledges everything; its program sees the end after it resumes."""
    async with gate.program() as program:
        program.do("connect")
        await gate.scene.tail.until("gatewayConnected")
        program.send_signal(signal.SIGSTOP)
        error, _ = await gate.lost(GatewayReason.KEEPALIVE_TIMEOUT)
        program.send_signal(signal.SIGCONT)
        ended = await program.hears()

    assert int(error["seconds"]) >= NOTICED
    assert ended["ended"] == "UNAVAILABLE"


async def test_a_gateway_that_only_answers_is_not_missed(gate: GatewayScene) -> None:
    """A gateway without messages may be silent for any time."""
    client = await gate.raw()
    await until(lambda: client.grpc.pings >= 3)
    names = await gate.scene.names_until_now()

    assert names == []
    assert await gate.gateway.status() == "online"
