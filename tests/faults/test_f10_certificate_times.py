"""F10: a client certificate that has expired, or is not yet valid."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from span_events.events.reasons import ClientRejectedReason
from tests.bench.certificates import DAY
from tests.bench.live import Credentials, LiveDevice, LiveServer
from tests.faults.scene import scene_of
from tests.faults.secure import SecureScene, open_secure_scene, shown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder of the server."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def expired(folder: Path) -> tuple[LiveDevice, Credentials]:
    """Make a device with a certificate that has expired: an earlier run of the server made it, valid for a second."""

    async def make() -> tuple[LiveDevice, Credentials]:
        device = await earlier.add_device(await earlier.add_collection())
        return device, await earlier.add_certificate(device)

    with LiveServer(folder, {"pki.validity": 1.0}) as earlier:
        device, credentials = asyncio.run(make())
    time.sleep(max(0.0, credentials.expires + 1.0 - time.time()))
    return device, credentials


@pytest.fixture(scope="module")
def server(folder: Path, expired: tuple[LiveDevice, Credentials]) -> Iterator[LiveServer]:
    """Start the server, whose certificates are valid for long."""
    with LiveServer(folder) as started:
        assert started.free_address() == expired[0].address  # no device after it may have it
        yield started


def text_of(moment: dt.datetime) -> str:
    """Format a time as events do."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


async def test_an_expired_certificate_is_reported_for_its_device(
    server: LiveServer, expired: tuple[LiveDevice, Credentials]
) -> None:
    """The event belongs to its device; a new certificate is accepted, before and after."""
    device, old = expired
    async with scene_of(server, device) as scene, open_secure_scene(scene) as secure:
        await secure.session()
        attempt = await secure.try_s_client(*shown(old))
        data = await secure.rejected(ClientRejectedReason.CERTIFICATE_EXPIRED, attempt, of=secure.device)
        await secure.session()

    assert data["notAfter"] == text_of(dt.datetime.fromtimestamp(old.expires, dt.UTC))
    assert data["notBefore"] < data["notAfter"]
    assert data["certificateSerial"] == old.serial
    assert "alert certificate expired" in attempt.printed


async def test_a_certificate_that_is_not_yet_valid_is_reported_for_its_collection(secure: SecureScene) -> None:
    """The collection has signed it; its serial number is unknown, as after the restore of an old registry."""
    leaf = secure.authority().leaf("pump-7", begin=DAY, end=2 * DAY)
    attempt = await secure.try_s_client(*shown(secure.files_of(leaf)))
    data = await secure.rejected(ClientRejectedReason.CERTIFICATE_NOT_YET_VALID, attempt, of=secure.collection)

    assert data == {
        "certificateIssuer": secure.authority().certificate.subject.rfc4514_string(),
        "certificateSubject": "CN=pump-7",
        "certificateSerial": str(leaf.certificate.serial_number),
        "notBefore": text_of(leaf.certificate.not_valid_before_utc),
        "notAfter": text_of(leaf.certificate.not_valid_after_utc),
    }
    assert "alert bad certificate" in attempt.printed
