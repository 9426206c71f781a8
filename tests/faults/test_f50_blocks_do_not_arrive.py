"""F50: blocks of a download do not arrive, since they are too large for the network or the device."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.live import LiveServer
from tests.faults.firmware import FirmwareScene


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that soon gives a download up."""
    with LiveServer(tmp_path_factory.mktemp("server"), {"firmware.stall_timeout": 1.0}) as started:
        yield started


async def test_a_stopped_download_names_the_block_that_was_asked_for_again(firmware: FirmwareScene) -> None:
    """With the size of the blocks, and what to do."""
    await firmware.report()
    for _ in range(3):
        await firmware.fetch(0)
    event = await firmware.scene.published("firmwareStateChange", state="TimedOut")

    assert (event["data"]["repeatedBlock"], event["data"]["blockSize"]) == ("0", "512")
    assert event["data"]["message"].endswith(
        "; asked 3 times for it: answers of 512 octets do not arrive: smaller blocks"
    )
    assert "smaller blocks" in event["hint"]


async def test_a_device_that_asks_for_one_block_for_ever_is_told_at_once(firmware: FirmwareScene) -> None:
    """A client whose buffer is smaller than a block begins again and again."""
    await firmware.report()
    for _ in range(11):
        await firmware.fetch(0)
    event = await firmware.scene.published("firmwareStateChange", state="Downloading", repeatedBlock="0")

    assert event["data"]["message"].startswith("is at block 0: asked 11 times for it")
