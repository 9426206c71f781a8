"""F31: an image was downloaded completely, and the device reports the old version again."""

from __future__ import annotations

from span_events.events.reasons import FirmwareState
from span_events.wire.fota import decode_response
from tests.faults.firmware import IMAGE, NEW, OLD, FirmwareScene, correlations
from tests.faults.scene import check_words


async def test_a_device_that_does_not_run_what_it_downloaded_is_told(firmware: FirmwareScene) -> None:
    """Both versions; then the update is held back until somebody has looked."""
    await firmware.report()
    octets = await firmware.download()
    await firmware.change("Updating")
    begun = len(firmware.scene.tail.seen)
    held = await firmware.report()
    event = await firmware.scene.published("firmwareStateChange", state="UpdateFailed")
    again = await firmware.report()
    repeated = await firmware.scene.published("firmwareStateChange", state="UpdateFailed")
    story = firmware.scene.tail.seen[begun:]

    assert octets == IMAGE
    assert [each["event"] for each in story] == ["firmwareCheck", "firmwareStateChange"] * 2
    assert event["data"] == {
        "from": "Updating",
        "state": "UpdateFailed",
        "message": "downloaded 1.1.0 to the end, and reports 1.0.0 (before: 1.0.0)",
        "version": OLD,
        "targetVersion": NEW,
    }
    check_words(event, "error", FirmwareState.UPDATE_FAILED.hint)
    assert len(correlations(story[:2])) == len(correlations(story[2:])) == 1
    assert repeated["data"]["message"].startswith("1.1.0 is held back until the error is cleared")
    assert not decode_response(held.payload).available
    assert not decode_response(again.payload).available


async def test_a_device_that_repeats_itself_octet_for_octet_after_its_reboot_is_told(firmware: FirmwareScene) -> None:
    """Small clients begin with the same port and message ids each time; that must not make the fault invisible."""
    firmware.reboot()
    await firmware.report()
    octets = await firmware.download()
    firmware.reboot()
    held = await firmware.report()
    await firmware.change("UpdateFailed")
    names = await firmware.scene.names_until_now()

    assert octets == IMAGE
    assert names.count("firmwareCheck") == 2
    assert "messageDuplicate" not in names
    assert not decode_response(held.payload).available


async def test_the_error_is_cleared_and_the_device_may_try_again(firmware: FirmwareScene) -> None:
    """DELETE …/fwerror: Initializing; the next report brings the update."""
    await firmware.report()
    await firmware.download()
    await firmware.report()
    await firmware.change("UpdateFailed")
    reply = await firmware.scene.server.call("DELETE", f"{firmware.scene.device.path}/fwerror")
    cleared = await firmware.change("Initializing")
    offered = await firmware.report()
    await firmware.scene.published("firmwareUpdateRequired", targetVersion=NEW)
    await firmware.download()
    await firmware.report(NEW)
    await firmware.change("Current")

    assert reply == {"result": "Initializing"}
    assert cleared["from"] == "UpdateFailed"
    assert decode_response(offered.payload).available


async def test_a_device_that_goes_back_from_the_new_version_is_told(firmware: FirmwareScene) -> None:
    """Reverted: it ran 1.1.0, and then 1.0.0 again."""
    await firmware.report(NEW)
    await firmware.change("Current")
    reply = await firmware.report(OLD)
    event = await firmware.scene.published("firmwareStateChange", state="Reverted")

    assert event["data"]["message"] == "ran 1.1.0, and now reports 1.0.0"
    assert (event["data"]["version"], event["data"]["targetVersion"]) == (OLD, NEW)
    check_words(event, "error", FirmwareState.REVERTED.hint)
    assert not decode_response(reply.payload).available
