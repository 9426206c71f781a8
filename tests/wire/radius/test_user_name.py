"""The IMSI in a User-Name."""

from __future__ import annotations

import pytest

from span_events.wire.radius.user_name import imsi_of

IMSI = "242016000000001"


@pytest.mark.parametrize(
    ("name", "imsi"),
    [
        (IMSI, IMSI),
        (f"{IMSI}@ims.mnc001.mcc242.3gppnetwork.org", IMSI),
        (f"0{IMSI}@nai.epc.mnc001.mcc242.3gppnetwork.org", IMSI),
        (f"6{IMSI}@wlan.mnc001.mcc242.3gppnetwork.org", IMSI),
        (f"0{IMSI}", IMSI),
        ("24201600000001@a", "24201600000001"),
        (f"9{IMSI}", None),
        (f"00{IMSI}", None),
        ("mda", None),
        ("", None),
        ("12345", None),
        ("٢٤٢٠١٦٠٠٠٠٠٠٠٠١", None),
        (f"{IMSI}x", None),
        ("4Wx2c4f@nai.epc.mnc001.mcc242.3gppnetwork.org", None),
    ],
)
def test_an_imsi_is_found_alone_or_in_an_nai(name: str, imsi: str | None) -> None:
    """A digit before it says how a mobile authenticates (TS 23.003 §19.3.2)."""
    assert imsi_of(name) == imsi
