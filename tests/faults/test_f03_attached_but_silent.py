"""F03: a device attached but never sends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.bench.live import LiveServer
from tests.faults.mobile import SETTINGS, MobileScene
from tests.faults.scene import check_words

SILENT_AFTER = 1.0
"""Seconds; a whole number, so that the value in the event is not 0."""


@pytest.fixture(scope="module")
def mobile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with a short silent_after."""
    settings = SETTINGS | {"cellular.silent_after": SILENT_AFTER}
    with LiveServer(tmp_path_factory.mktemp("mobile"), settings) as started:
        yield started


async def test_a_device_that_attached_and_sends_nothing_is_published_once(mobile: MobileScene) -> None:
    """The radio side works, so the fault is above it: that is the hint."""
    before = datetime.now(UTC).replace(microsecond=0)
    connected = await mobile.attach()
    event = await mobile.scene.published("clientSilent")
    names = await mobile.scene.names_until_now()

    assert int(event["data"].pop("seconds")) >= SILENT_AFTER
    attached_at = datetime.fromisoformat(event["data"].pop("attachedAt")).replace(tzinfo=UTC)
    assert before <= attached_at <= datetime.now(UTC)
    assert event["data"] == {"allocatedIp": mobile.address}
    assert connected["allocatedIp"] == mobile.address
    check_words(event, "warning")
    assert names == ["ciotConnect", "clientSilent"]


async def test_a_device_that_sends_is_not_silent(mobile: MobileScene) -> None:
    """An attachment in which it sends nothing is published, the one before, in which it sent, is not."""
    names, attempts = await names_of_an_attachment_with_a_message(mobile), 20
    while "clientSilent" in names[: names.index("upstreamMessage")] and attempts:  # a busy machine: it was late
        names, attempts = await names_of_an_attachment_with_a_message(mobile), attempts - 1
    await mobile.attach()
    await mobile.scene.published("clientSilent")

    assert "clientSilent" not in names


async def names_of_an_attachment_with_a_message(mobile: MobileScene) -> list[str]:
    """Attach, send and detach; return the names of the events of that."""
    start = len(mobile.scene.tail.names)
    await mobile.attach()
    mobile.scene.udp().send(b"here")
    await mobile.scene.published("upstreamMessage")
    await mobile.detach()
    await mobile.scene.published("ciotDisconnect")
    return mobile.scene.tail.names[start:]
