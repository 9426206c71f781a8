"""F08: the address of a device was reassigned to another one."""

from __future__ import annotations

from span_events.events.reasons import CiotDisconnectReason, DisconnectReason
from tests.bench.peers.radclient import START, STOP
from tests.faults.mobile import MobileScene, add_mobile, new_sim
from tests.faults.scene import check_words


async def test_a_reassigned_address_ends_the_session_of_its_previous_device(mobile: MobileScene) -> None:
    """The first device disconnects, then the second connects; later datagrams are the second's."""
    await mobile.attach()
    sender = mobile.scene.udp()
    sender.send(b"of the first")
    await mobile.scene.published("upstreamMessage")
    sim = new_sim()
    other = await add_mobile(mobile.server, mobile.scene.device.collection, sim)
    await mobile.account(START, sim, session="C00002010000F008")
    detached = await mobile.scene.published("ciotDisconnect")
    await mobile.scene.tail.until("ciotConnect", imsi=sim.imsi)
    sender.send(b"of the second")
    message = await mobile.scene.tail.until("upstreamMessage", bytes="13")

    events = [each for each in mobile.scene.tail.seen if each["event"] != "deviceCreated"]
    names = [(each["event"], each["deviceId"] == other.id) for each in events]
    assert names == [
        ("ciotConnect", False),
        ("clientConnected", False),
        ("upstreamMessage", False),
        *[(each, False) for each in ("ciotDisconnect", "clientDisconnected")],
        ("ciotConnect", True),
        ("clientConnected", True),
        ("upstreamMessage", True),
    ]
    ended = events[4]
    assert (ended["data"]["reason"], ended["data"]["transport"]) == ("addressReassigned", "udp")
    check_words(ended, "info", DisconnectReason.ADDRESS_REASSIGNED.hint)
    assert detached["data"]["reason"] == "addressReassigned"
    check_words(detached, "info", CiotDisconnectReason.ADDRESS_REASSIGNED.hint)
    assert message["deviceId"] == other.id


async def test_a_late_stop_of_the_first_device_leaves_the_second_its_address(mobile: MobileScene) -> None:
    """It is answered, or the mobile core would retransmit it."""
    await mobile.attach()
    sim = new_sim()
    other = await add_mobile(mobile.server, mobile.scene.device.collection, sim)
    await mobile.account(START, sim, session="C00002010000F108")
    await mobile.scene.published("ciotDisconnect")
    late = await mobile.account(STOP)
    mobile.scene.udp().send(b"still mine")
    message = await mobile.scene.tail.until("upstreamMessage")

    assert late.kind == "Accounting-Response"
    assert message["deviceId"] == other.id
