"""F02: the SIM was moved to new hardware: known IMSI, other IMEI."""

from __future__ import annotations

from tests.faults.mobile import MobileScene, new_sim
from tests.faults.scene import check_words


async def test_a_sim_in_other_hardware_is_published_once_with_both_numbers(mobile: MobileScene) -> None:
    """The network gets a reject each time, the subscriber one event."""
    moved = mobile.sim.in_hardware_of(new_sim())
    answers = [(await mobile.ask(moved)).kind for _ in range(2)]
    event = await mobile.scene.published("imeiMismatch")
    names = await mobile.scene.names_until_now()

    assert answers == ["Access-Reject"] * 2
    assert event["data"] == {"imei": moved.imei, "expectedImei": mobile.sim.imei, "imsi": mobile.sim.imsi}
    check_words(event, "error")
    assert names == ["imeiMismatch"]


async def test_new_software_in_the_same_hardware_is_no_mismatch(mobile: MobileScene) -> None:
    """The network sends an IMEISV, which ends with the version; only the 14 digits of the hardware count."""
    connected = await mobile.attach()

    assert (connected["imsi"], connected["imei"]) == (mobile.sim.imsi, mobile.sim.imei)
