"""F29: a firmware report without a version, or cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from span_events.events.reasons import MessageRejectedReason
from span_events.wire.coap.messages import Code
from tests.faults.firmware import FirmwareScene

NAMELESS = b"\x02\x08model 01"
CUT = b"\x01\x051.0.0\x04\x0fLab5e Demo"


@pytest.mark.parametrize(
    ("payload", "detail", "at"),
    [
        (NAMELESS, "the report has no version, wanted field 1 with text", "10"),
        (CUT, "field 4 says 15 octets, 10 are left", "7"),
        (b"", "the report has no version, wanted field 1 with text", "0"),
    ],
)
async def test_a_report_that_cannot_be_read_hears_4_00(
    firmware: FirmwareScene, payload: bytes, detail: str, at: str
) -> None:
    """In the same words as the event, which has the octet too; the device's firmware is what it was."""
    reply = await firmware.send_report(payload)
    data = await firmware.scene.rejected(MessageRejectedReason.MALFORMED)
    names = await firmware.scene.names_until_now()

    assert (reply.code, reply.payload) == (Code.BAD_REQUEST, detail.encode())
    assert data == {
        "reason": "malformed",
        "detail": detail,
        "at": at,
        "remoteAddress": firmware.socket.remote,
        "transport": "coap",
    }
    assert "firmwareCheck" not in names


async def test_a_real_client_sees_the_same(firmware: FirmwareScene, tmp_path: Path) -> None:
    """Libcoap prints the diagnostic payload."""
    file = tmp_path / "report"
    file.write_bytes(CUT)
    printed = await firmware.libcoap("u", "-m", "post", "-f", file)
    data = await firmware.scene.rejected(MessageRejectedReason.MALFORMED)

    assert printed == f"4.00 {data['detail']}"
