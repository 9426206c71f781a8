"""F01: the SIM was swapped: known hardware attaches with another IMSI."""

from __future__ import annotations

from tests.faults.mobile import MobileScene, new_sim
from tests.faults.scene import check_words


async def test_a_swapped_sim_is_published_once_with_both_numbers(mobile: MobileScene) -> None:
    """The network gets a reject each time, the subscriber one event."""
    swapped = new_sim().in_hardware_of(mobile.sim)
    answers = [(await mobile.ask(swapped)).kind for _ in range(3)]
    event = await mobile.scene.published("imsiMismatch")
    names = await mobile.scene.names_until_now()

    assert answers == ["Access-Reject"] * 3
    assert event["data"] == {"imsi": swapped.imsi, "expectedImsi": mobile.sim.imsi, "imei": mobile.sim.imei}
    check_words(event, "error")
    assert names == ["imsiMismatch"]


async def test_configuring_the_new_sim_is_the_cure(mobile: MobileScene) -> None:
    """The hint helps: the next attach request is accepted."""
    swapped = new_sim().in_hardware_of(mobile.sim)
    await mobile.ask(swapped)
    await mobile.scene.published("imsiMismatch")
    await mobile.server.call("PATCH", mobile.scene.device.path, {"config": {"ciot": {"imsi": swapped.imsi}}})
    answer = await mobile.ask(swapped)

    assert answer.kind == "Access-Accept"
