"""F32: a device asks for an image, but there is none for it."""

from __future__ import annotations

import pytest

from span_events.events.reasons import MessageRejectedReason
from span_events.wire.coap.messages import Code
from tests.faults.firmware import FirmwareScene


@pytest.mark.parametrize("cause", ["disabled", "no target"])
async def test_a_device_that_asks_for_an_image_that_it_should_not_run_hears_4_04(
    firmware: FirmwareScene, cause: str
) -> None:
    """Event and reply say why; what it was doing is told as over."""
    await firmware.download(end=3)
    await firmware.change("Downloading")
    if cause == "disabled":
        await firmware.disable_image()
        why = f"the target image {firmware.image} (version 1.1.0) is disabled"
    else:
        await firmware.set_target("0")
        why = "no target image is set"
    withdrawn = await firmware.change("Current")
    reply = await firmware.fetch(3)
    data = await firmware.scene.rejected(MessageRejectedReason.NO_FIRMWARE)

    assert withdrawn["message"] == f"{why}; its download had come to block 2"
    assert (reply.code, reply.payload) == (Code.NOT_FOUND, why.encode())
    assert data == {
        "reason": "noFirmware",
        "detail": why,
        "remoteAddress": firmware.socket.remote,
        "transport": "coap",
    }


async def test_a_real_client_sees_the_same(firmware: FirmwareScene) -> None:
    """Libcoap prints the diagnostic payload."""
    await firmware.set_target("0")
    await firmware.change("Current")
    printed = await firmware.libcoap("fw", "-m", "get")
    await firmware.scene.rejected(MessageRejectedReason.NO_FIRMWARE)

    assert printed == "4.04 no target image is set"


async def test_another_target_in_the_middle_of_a_download_never_gives_a_mixture(firmware: FirmwareScene) -> None:
    """4.08 and imageChanged for the rest of the old image; the new one from block 0."""
    await firmware.download(end=3)
    image = await firmware.add_image(b"another image", "1.2.0")
    await firmware.set_target(image)
    pending = await firmware.scene.published("firmwareStateChange", state="Pending", targetVersion="1.2.0")
    refused = await firmware.fetch(3)
    await firmware.scene.rejected(MessageRejectedReason.IMAGE_CHANGED)
    begun = await firmware.fetch(0)
    await firmware.scene.published("firmwareRequested", version="1.2.0")

    assert pending["data"]["from"] == "Downloading"
    assert refused.code == Code.REQUEST_ENTITY_INCOMPLETE
    assert begun.payload == b"another image"
