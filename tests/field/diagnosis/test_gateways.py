"""Two programs with one gateway's certificate, as the field met them."""

from __future__ import annotations

from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from tests.faults.conftest import gate
from tests.faults.gateway_scene import GatewayScene
from tests.faults.scene import check_words

__all__ = ["gate"]

REPLACEMENTS = 4
"""Replacements within a minute after which the connected program stays."""


async def test_diagnosis_06_two_gateways_with_one_certificate_do_not_replace_each_other_for_ever(
    gate: GatewayScene,
) -> None:
    """A warning names both addresses, then the connected one stays and the other hears why."""
    clients = [gate.client() for _ in range(REPLACEMENTS + 2)]
    for client in clients[:-1]:
        await client.serve()
        await gate.scene.tail.until("gatewayConnected")
    warning = await gate.scene.tail.until("gatewayCommError")
    status, text = await (await clients[-1].open()).refused()
    refused = await gate.scene.tail.until("gatewayRejected")

    remotes = [f"127.0.0.1:{client.remote[1]}" for client in clients[-3:-1]]
    assert warning["data"]["error"] == f"connections from {remotes[0]} and {remotes[1]} replace each other"
    check_words(warning, "warning", GatewayReason.IDENTITY_CONFLICT.hint)
    assert refused["data"]["detail"].startswith(f"{remotes[1]} is connected with it")
    check_words(refused, "warning", GatewayRejectedReason.IDENTITY_CONFLICT.hint)
    assert (status, text.partition(":")[2].startswith(" identityConflict")) == (10, True)
    assert await gate.gateway.status() == "online"
