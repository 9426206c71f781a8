"""F48: a device goes on to send from its pool address after the mobile core has ended its attachment."""

from __future__ import annotations

from span_events.events.reasons import MessageRejectedReason
from tests.faults.mobile import MobileScene


async def test_the_address_still_names_the_device_that_had_it(mobile: MobileScene) -> None:
    """Its subscriber learns when the attachment ended, and why; nobody else gets the address meanwhile."""
    await mobile.attach()
    await mobile.detach()
    ended = await mobile.scene.published("ciotDisconnect")
    mobile.scene.udp().send(b"still here")
    data = await mobile.scene.rejected(MessageRejectedReason.NOT_ATTACHED)

    assert data["endedAt"] == ended["time"]
    assert data["cause"] == ended["data"]["cause"]
