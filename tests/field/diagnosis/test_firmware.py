"""Findings of the field about firmware updates."""

from __future__ import annotations

from span_events.events.reasons import MessageRejectedReason
from span_events.wire.coap.messages import Code
from tests.faults.firmware import FirmwareScene


async def test_diagnosis_09_a_held_back_update_is_not_served(firmware: FirmwareScene) -> None:
    """The hint of UpdateFailed, and the next GET, say the same; after the error is cleared, the image is served."""
    await firmware.report()
    await firmware.download()
    await firmware.report()
    await firmware.change("UpdateFailed")
    refused = await firmware.fetch(0)
    data = await firmware.scene.rejected(MessageRejectedReason.NO_FIRMWARE)
    await firmware.scene.server.call("DELETE", f"{firmware.scene.device.path}/fwerror")
    served = await firmware.fetch(0)

    assert refused.code == Code.NOT_FOUND
    assert data["detail"].startswith("1.1.0 is held back until the error is cleared")
    assert served.code == Code.CONTENT
