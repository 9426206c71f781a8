"""F46: one certificate or PSK is in use from two addresses: it was copied."""

from __future__ import annotations

from tests.faults.scene import check_words
from tests.faults.secure import LINE, SecureScene, owner_of


async def test_a_copied_certificate_is_published_with_both_addresses(secure: SecureScene) -> None:
    """The copy connects from another address, then the device sends again on its own session."""
    scene = secure.scene
    own, copy = secure.free_port(), f"{scene.server.free_address()}:0"
    async with secure.client(bind=own) as device:
        device.say(LINE)
        await scene.published("upstreamMessage")
        async with secure.client(bind=copy) as other:
            other.say(LINE)
            await scene.published("upstreamMessage")
            device.say(LINE)
            event = await scene.published("identityConflict")

    assert event["data"] == {
        "transport": "dtls",
        "remoteAddress": own,
        "otherAddress": copy.rpartition(":")[0],
        "certificateSerial": secure.credentials.serial,
    }
    check_words(event, "warning")
    assert owner_of(event) == secure.device


async def test_a_device_that_gets_another_address_is_no_conflict(secure: SecureScene) -> None:
    """It connects anew and never returns to the old one."""
    scene = secure.scene
    async with secure.client(bind=secure.free_port()) as before:
        before.say(LINE)
        await scene.published("upstreamMessage")
    async with secure.client(bind=f"{scene.server.free_address()}:0") as after:
        after.say(LINE)
        await scene.published("upstreamMessage")
        after.say(LINE)
        await scene.published("upstreamMessage")
        names = await scene.names_until_now()

    assert "identityConflict" not in names
