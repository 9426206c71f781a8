"""F60: a client floods one listener."""

from __future__ import annotations

import re
from pathlib import Path

from span_events.events.reasons import GatewayReason
from tests.attacks.bystander import bystander
from tests.attacks.floods import flood
from tests.bench.live import LiveServer
from tests.e2e.gateways import add_gateway
from tests.faults.scene import EXTENDED, check_words

PING = "000008 06 00 00000000 0000000000000000"


async def test_each_flood_is_told_once_and_cut_and_nobody_else_waits(server: LiveServer, tmp_path: Path) -> None:
    """The gateway connects and floods again and again; the event counts its frames."""
    gateway = await add_gateway(server, await server.add_collection())
    files = await gateway.certificate(tmp_path / "roof")
    async with server.tail(f"/span/collections/{gateway.collection}/activity", EXTENDED) as tail:
        async with bystander(server) as seen:
            await flood(server, (str(files.certificate), str(files.key), "open", PING))
        told = [await tail.until("gatewayCommError", reason="tooManyFrames") for _ in range(2)]

    assert len({event["sessionId"] for event in told}) == 2
    for event in told:
        assert event["gatewayId"] == gateway.id
        assert re.match(r"\d+,\d{3} frames or messages without content", event["data"]["error"])
        check_words(event, "error", GatewayReason.TOO_MANY_FRAMES.hint)
    seen.check()
