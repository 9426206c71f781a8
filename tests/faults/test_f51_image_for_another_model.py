"""F51: the target image is for another model than the device reports."""

from __future__ import annotations

from span_events.events.reasons import MessageRejectedReason
from span_events.wire.coap.messages import Code
from span_events.wire.fota import decode_response
from tests.faults.firmware import FirmwareScene


async def test_the_image_is_not_offered_and_both_models_are_told(firmware: FirmwareScene) -> None:
    """Neither by the response to the report, nor by a GET."""
    scene = firmware.scene
    path = f"/span/collections/{scene.device.collection}/firmware/{firmware.image}"
    await scene.server.call("PATCH", path, {"tags": {"modelNumber": "model 02"}})
    reply = await firmware.report()
    data = await scene.rejected(MessageRejectedReason.WRONG_MODEL)
    block = await firmware.fetch(0)

    assert not decode_response(reply.payload).available
    assert (data["modelNumber"], data["imageModelNumber"]) == ("model 01", "model 02")
    assert data["detail"].endswith("is for another model: modelNumber model 02, the device reports model 01")
    assert block.code == Code.NOT_FOUND


async def test_an_image_for_the_model_is_offered(firmware: FirmwareScene) -> None:
    """Tags that equal the report change nothing."""
    scene = firmware.scene
    path = f"/span/collections/{scene.device.collection}/firmware/{firmware.image}"
    tags = {"modelNumber": "model 01", "manufacturer": "Lab5e Demo Corp"}
    await scene.server.call("PATCH", path, {"tags": tags})

    assert decode_response((await firmware.report()).payload).available
