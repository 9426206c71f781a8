"""F04: a subscriber whose SIM and hardware belong to no device attaches."""

from __future__ import annotations

from span_events.events.reasons import CiotRejectedReason
from tests.faults.mobile import NAS, MobileScene, add_mobile, new_sim
from tests.faults.scene import check_words


async def test_an_unknown_subscriber_is_published_to_tokens_for_everything_only(mobile: MobileScene) -> None:
    """Its collection is not known, so the event belongs to none."""
    stranger = new_sim()
    answer = await mobile.ask(stranger)
    event = await mobile.everything.until("ciotRejected", imsi=stranger.imsi)
    names = await mobile.scene.names_until_now()

    assert answer.kind == "Access-Reject"
    assert event["data"] == {
        "reason": "unknownDevice",
        "imsi": stranger.imsi,
        "imei": stranger.imei,
        "nas": NAS,
    }
    assert event.keys().isdisjoint({"collectionId", "deviceId", "gatewayId"})
    check_words(event, "error", CiotRejectedReason.UNKNOWN_DEVICE.hint)
    assert names == []


async def test_creating_a_device_with_these_numbers_is_the_cure(mobile: MobileScene) -> None:
    """The hint helps: the next attach request is accepted."""
    stranger = new_sim()
    await mobile.ask(stranger)
    await mobile.everything.until("ciotRejected", imsi=stranger.imsi)
    await add_mobile(mobile.server, mobile.scene.device.collection, stranger)
    answer = await mobile.ask(stranger)

    assert answer.kind == "Access-Accept"
