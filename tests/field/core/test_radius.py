"""Mobile cores that write less than 3GPP asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.peers.radclient import ATTACH
from tests.listeners.radius.bench import IMSI, NAS, radius_bench


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("name", [IMSI, f"0{IMSI}@nai.epc.mnc001.mcc242.3gppnetwork.org"])
async def test_core_13_the_imsi_may_come_from_user_name(tmp_path: Path, name: str, wanted: bool) -> None:
    """As a setting: elsewhere a device chooses its User-Name."""
    asked = {key: value for key, value in ATTACH.items() if key != "3GPP-IMSI"} | {"User-Name": f'"{name}"'}
    async with radius_bench(tmp_path, radius={"nas": [NAS | {"imsi_from_user_name": wanted}]}) as radius:
        answer = await radius.ask(asked)

    assert answer.kind == ("Access-Accept" if wanted else "Access-Reject")
