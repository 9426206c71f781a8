"""F22: a certificate in use will expire soon."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from tests.bench.live import LiveServer
from tests.faults.scene import check_words
from tests.faults.secure import SecureScene

VALIDITY = 2.5 * 86_400
"""Seconds: less than pki.warn_before."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server whose certificates are valid for less than pki.warn_before."""
    with LiveServer(tmp_path_factory.mktemp("server"), {"pki.validity": VALIDITY}) as started:
        yield started


async def test_a_certificate_is_warned_of_once_a_day(secure: SecureScene) -> None:
    """The device is accepted; its second connection of the day publishes no warning."""
    await secure.session()
    await secure.session()
    names = await secure.scene.names_until_now()
    (expiring,) = (event for event in secure.scene.tail.seen if event["event"] == "certificateExpiring")

    assert names.count("clientConnected") == 2
    assert expiring["data"] == {
        "notAfter": dt.datetime.fromtimestamp(secure.credentials.expires, dt.UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "daysLeft": "2",
        "certificateSerial": secure.credentials.serial,
    }
    assert expiring["deviceId"] == secure.scene.device.id
    check_words(expiring, "warning")
