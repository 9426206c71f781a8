"""R1: a gateway sends frames without content, without end (CVE-2019-9512, 9515, 9518 and their siblings)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.attacks.bystander import bystander
from tests.attacks.floods import flood
from tests.bench.live import LiveServer
from tests.e2e.gateways import add_gateway

FRAMES: Final = {
    "empty DATA": "000000 00 00 00000001",
    "DATA of one octet": "000001 00 00 00000001 00",
    "an empty message": "000005 00 00 00000001 0000000000",
    "many empty messages": "000064 00 00 00000001" + "0000000000" * 20,
    "padded DATA": "000001 00 08 00000001 00",
    "WINDOW_UPDATE": "000004 08 00 00000000 00000001",
    "SETTINGS": "000000 04 00 00000000",
    "PING": "000008 06 00 00000000 0000000000000000",
    "PRIORITY": "000005 02 00 00000001 0000000010",
    "an unknown frame": "000000 4d 00 00000001",
}
_ENHANCE_YOUR_CALM: Final = "11"


async def test_R1_each_flood_of_frames_ends_the_gateway_and_nobody_else_waits(
    server: LiveServer, tmp_path: Path
) -> None:
    """The gateway gets GOAWAY ENHANCE_YOUR_CALM, the stream a reason, and other devices their answers."""
    gateway = await add_gateway(server, await server.add_collection())
    files = await gateway.certificate(tmp_path / "roof")
    codes: dict[str, str] = {}
    errors = []
    activity = server.tail(f"/span/collections/{gateway.collection}/activity", {"extended": "1"})
    async with activity as tail, bystander(server) as seen:
        for kind, octets in FRAMES.items():
            codes[kind] = await flood(server, (str(files.certificate), str(files.key), "open", octets))
            errors.append(await tail.until("gatewayCommError", reason="tooManyFrames"))

    assert codes == dict.fromkeys(FRAMES, _ENHANCE_YOUR_CALM)
    assert {error["gatewayId"] for error in errors} == {gateway.id}
    seen.check()


async def test_R1_a_flood_before_the_control_stream_ends_as_well(server: LiveServer, tmp_path: Path) -> None:
    """The same budget holds from the first frame on."""
    gateway = await add_gateway(server, await server.add_collection())
    files = await gateway.certificate(tmp_path / "roof")
    async with server.tail(query={"extended": "1"}) as tail:
        async with bystander(server) as seen:
            frame = FRAMES["SETTINGS"]
            code = await flood(server, (str(files.certificate), str(files.key), "http2", frame))
        rejected = await tail.until("gatewayRejected", reason="tooManyFrames")

    assert code == _ENHANCE_YOUR_CALM
    assert "gateways.frames_per_second" in rejected["data"]["detail"]
    seen.check()
