"""F49: the mobile core gives an attached device another address."""

from __future__ import annotations

import pytest

from tests.bench.peers.radclient import INTERIM
from tests.faults.mobile import MobileScene
from tests.faults.scene import check_words


@pytest.mark.parametrize("sends", [True, False])
async def test_an_interim_update_with_another_address_is_always_published(mobile: MobileScene, sends: bool) -> None:
    """Also before the device has sent anything, when no session ends."""
    await mobile.attach()
    if sends:
        mobile.scene.udp().send(b"hello")
        await mobile.scene.published("upstreamMessage")
    other = mobile.server.free_address()
    await mobile.account(INTERIM, address=other)
    event = await mobile.scene.published("ciotAddressChanged")

    assert event["data"] == {"imsi": mobile.sim.imsi, "from": mobile.address, "to": other}
    check_words(event, "info")
