"""F37: the same gateway connects twice."""

from __future__ import annotations

from span_events.events.reasons import GatewayReason
from tests.faults.gateway_scene import GatewayScene
from tests.faults.scene import check_words
from tests.faults.secure import owner_of, session_of


async def test_the_newer_connection_wins(gate: GatewayScene) -> None:
    """The older connection is usually dead; otherwise it gets a status, and its end changes nothing."""
    async with gate.program() as older, gate.program() as newer:
        older.do("connect")
        first = await gate.scene.tail.until("gatewayConnected")
        newer.do("connect")
        replaced = await gate.scene.tail.until("gatewayDisconnected")
        second = await gate.scene.tail.until("gatewayConnected")
        status = [await gate.gateway.status()]
        ended = await older.hears()
        older.say_no_more()
        await older.finish()
        newer.do("upstream_message", device_id=gate.scene.device.id, payload="still here")
        message = await gate.scene.tail.until("upstreamMessage")
        status.append(await gate.gateway.status())
        newer.do("close")
        last = await gate.scene.tail.until("gatewayDisconnected")
        status.append(await gate.gateway.status())
        names = await gate.scene.names_until_now()

    assert names == [
        *("gatewayConnected", "gatewayDisconnected", "gatewayConnected"),
        *("gatewayUpstreamMessage", "upstreamMessage", "gatewayDisconnected"),
    ]
    assert ended == {"ended": "ABORTED", "text": "replaced by a newer connection"}
    assert (replaced["data"]["reason"], last["data"]["reason"]) == ("replaced", "closed")
    assert ("replaced" in first["data"], second["data"]["replaced"]) == (False, "true")
    check_words(replaced, "warning", GatewayReason.REPLACED.hint)
    assert owner_of(replaced) == owner_of(second) == gate.whose
    assert session_of(first) == session_of(replaced) != session_of(second)
    assert session_of(message) == session_of(last) == session_of(second)
    assert status == ["online", "online", "offline"]
