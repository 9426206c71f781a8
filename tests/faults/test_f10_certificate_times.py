"""F10: a client certificate that has expired, or is not yet valid."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterator

import pytest

from span_events.events.reasons import ClientRejectedReason
from tests.bench.certificates import DAY
from tests.bench.live import Credentials, LiveServer
from tests.faults.secure import SecureScene, shown

VALIDITY = 3.0
"""Seconds; a valid client must be able to connect within them, also on a busy computer."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server whose certificates are valid for seconds."""
    with LiveServer(tmp_path_factory.mktemp("server"), {"pki.validity": VALIDITY}) as started:
        yield started


def text_of(moment: dt.datetime) -> str:
    """Format a time as events do."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


async def expired(credentials: Credentials) -> None:
    """Wait until a certificate has expired."""
    await asyncio.sleep(max(0.0, credentials.expires + 1.0 - time.time()))


async def test_an_expired_certificate_is_reported_for_its_device(secure: SecureScene) -> None:
    """The event belongs to its device; a new certificate is accepted."""
    await secure.session()
    await expired(secure.credentials)
    attempt = await secure.try_s_client(*shown(secure.credentials))
    data = await secure.rejected(ClientRejectedReason.CERTIFICATE_EXPIRED, attempt, of=secure.device)
    await secure.session(*shown(await secure.scene.server.add_certificate(secure.scene.device)))

    assert data["notAfter"] == text_of(dt.datetime.fromtimestamp(secure.credentials.expires, dt.UTC))
    assert data["notBefore"] < data["notAfter"]
    assert data["certificateSerial"] == secure.credentials.serial
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
