"""F45: two senders behind one plain address."""

from __future__ import annotations

from span_events.events.reasons.devices import ConflictReason
from tests.faults.scene import Scene, check_words


async def test_two_ports_that_send_in_turn_are_told_once_with_both(scene: Scene) -> None:
    """Their messages are one device's, since over plain UDP a device is its address."""
    one, two = scene.udp(), scene.udp()
    for sender in (one, two) * 4:
        sender.send(b"21.5")
        await scene.published("upstreamMessage")
    names = await scene.names_until_now()
    (event,) = (each for each in scene.tail.seen if each["event"] == "identityConflict")

    assert names.count("identityConflict") == 1
    assert {event["data"]["remoteAddress"], event["data"]["otherAddress"]} == {one.remote, two.remote}
    assert (event["data"]["reason"], event["data"]["transport"]) == ("sharedAddress", "udp")
    check_words(event, "warning", ConflictReason.SHARED_ADDRESS.hint)


async def test_a_device_that_takes_a_new_port_now_and_then_is_one_sender(scene: Scene) -> None:
    """A reboot or a NAT moves it, and it does not come back."""
    for _ in range(5):
        scene.udp().send(b"21.5")
        await scene.published("upstreamMessage")

    assert "identityConflict" not in await scene.names_until_now()
