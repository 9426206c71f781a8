"""F34: the connection of a gateway is reset."""

from __future__ import annotations

from span_events.events.reasons import GatewayReason
from tests.faults.gateway_scene import GatewayScene
from tests.listeners.gateways.bench import upstream


async def test_a_reset_is_told_at_once(gate: GatewayScene) -> None:
    """Earlier messages count; the gateway may reconnect at once."""
    client = await gate.raw()
    await client.send(upstream(b"last words", gate.scene.device.id))
    await gate.scene.tail.until("upstreamMessage", bytes="10")
    client.reset()
    error, left = await gate.lost(GatewayReason.CONNECTION_RESET)
    await gate.raw()
    status = await gate.gateway.status()

    assert "reset" in error["error"]
    assert (left["messagesUp"], left["messagesDown"], left["undelivered"]) == ("2", "2", "0")
    assert status == "online"
