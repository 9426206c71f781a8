"""F36: a gateway reports a device of another gateway."""

from __future__ import annotations

import pytest

from span_events.events.reasons import GatewayReason
from tests.e2e.gateways import EUI, add_device_behind, add_gateway
from tests.faults.gateway_scene import GatewayScene
from tests.faults.scene import check_words
from tests.faults.secure import owner_of


async def device_of(gate: GatewayScene, whose: str) -> str:
    """Create a device that is not behind the gateway, or only an id; return the id that the gateway reports."""
    if whose == "another collection's":
        return (await add_device_behind(await add_gateway(gate.server, await gate.server.add_collection()))).id
    if whose == "another gateway's":
        return (await add_device_behind(await add_gateway(gate.server, gate.gateway.collection))).id
    if whose == "nobody's":
        return "17dh0cf43jfgl8"
    return "pump 7"


@pytest.mark.parametrize(
    ("whose", "error"),
    [
        ("another collection's", "there is no device {} in the gateway's collection"),
        ("another gateway's", "device {} has no block for this gateway"),
        ("nobody's", "there is no device {} in the gateway's collection"),
        ("no id", None),
    ],
)
async def test_a_foreign_device_is_named(gate: GatewayScene, whose: str, error: str | None) -> None:
    """The event belongs to the gateway, never to the device; its stream continues, and its own devices are accepted."""
    device = await device_of(gate, whose)
    async with gate.program() as program:
        program.do("connect")
        program.do("upstream_message", device_id=device, payload="not mine")
        program.do("device_update", device_id=device, config=EUI | {"stolen": "1"})
        program.do("upstream_message", device_id=gate.scene.device.id, payload="mine")
        event = await gate.everything.until("gatewayCommError")
        own = await gate.everything.until("upstreamMessage")
        names = await gate.scene.names_until_now()
        status = await gate.gateway.status()

    assert owner_of(event) == gate.whose
    check_words(event, "error", GatewayReason.UNKNOWN_DEVICE.hint)
    assert (event["data"]["reason"], event["data"]["device"]) == ("unknownDevice", device)
    assert error is None or event["data"]["error"] == error.format(device)
    assert own["deviceId"] == gate.scene.device.id
    assert [each for each in names if each != "deviceCreated"] == [
        *("gatewayConnected", "gatewayCommError", "gatewayUpstreamMessage", "upstreamMessage"),
    ]
    assert status == "online"
