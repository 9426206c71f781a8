"""F47: the device's clock is outside the validity of the server's certificate."""

from __future__ import annotations

import re
from typing import Final

from span_events.events.reasons import ClientRejectedReason
from tests.faults.secure import SecureScene, shown

_IN_1970: Final = ("-attime", "0")


async def test_the_alert_is_published_with_the_validity_of_the_certificate(secure: SecureScene) -> None:
    """OpenSSL sends bad_certificate; the developer compares the dates with the clock of the device."""
    attempt = await secure.try_s_client(*shown(secure.credentials), *_IN_1970)
    data = await secure.rejected(ClientRejectedReason.CLIENT_ALERT, attempt)
    await secure.session()

    assert re.match(r"bad certificate; the server's certificate is valid from 20\d\d-", data["detail"])
    assert "clock" in ClientRejectedReason.CLIENT_ALERT.hint
