"""Each fault of a gateway causes its event, and the gateway reconnects."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from span_events.simulator.gateways.control_stream import NotConnected
from span_events.simulator.gateways.faults import GATEWAY_FAULTS, NEED_CERTIFICATE, meaning_of, run_with_faults
from tests.bench.waiting import until
from tests.simulator.gateways.server import gateway_server


async def test_reset_is_a_connection_that_was_reset(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        await bench.provoke("reset", simulated)
        await bench.back(simulated)

        assert [each["reason"] for each in bench.published("gatewayCommError")] == ["connectionReset"]
        assert [each["reason"] for each in bench.published("gatewayDisconnected")] == ["connectionReset"]
        assert simulated.statistics.ended == {"UNAVAILABLE": 1}


async def test_vanish_answers_nothing_and_keeps_its_socket(tmp_path: Path) -> None:
    """The server pings after 5 s of silence, and waits 4 s for the answer."""
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        fault = asyncio.get_running_loop().create_task(bench.provoke("vanish", simulated))
        moved = 0.0
        while not bench.published("gatewayCommError"):
            await bench.clock.advance(0.25)
            moved += 0.25
            assert moved < 12
        seen = await fault
        await bench.back(simulated)

        assert [each["reason"] for each in bench.published("gatewayCommError")] == ["keepaliveTimeout"]
        assert [each["reason"] for each in bench.published("gatewayDisconnected")] == ["keepaliveTimeout"]
        assert seen.startswith("answered nothing any more; after ")


async def test_a_vanished_gateway_without_a_keepalive_stops_waiting(tmp_path: Path) -> None:
    """A server without keepalives would stall the simulation."""
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        seen = await bench.provoke("vanish", simulated, patience=0.01)
        await bench.back(simulated)

        assert seen.endswith("the server did not mind for 0 s")


async def test_foreign_device_is_a_device_that_is_not_behind_the_gateway(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        seen = await bench.provoke("foreignDevice", simulated)
        await until(lambda: "gatewayCommError" in bench.names)
        (error,) = bench.published("gatewayCommError")

        assert error["reason"] == "unknownDevice"
        assert seen.endswith(error["device"])
        assert bench.gateway.is_online


async def test_twice_replaces_the_older_connection(tmp_path: Path) -> None:
    """The gateway is never offline in between, and never online twice."""
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        seen = await bench.provoke("twice", simulated)
        await bench.back(simulated)

        assert "ABORTED: replaced by a newer connection" in seen
        assert [each["reason"] for each in bench.published("gatewayDisconnected")] == ["replaced"]
        assert [each.get("replaced") for each in bench.published("gatewayConnected")] == [None, "true"]
        assert len(bench.server.fleet.gateway_sessions) == 1


async def test_bad_message_ends_the_stream_with_a_status(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        seen = await bench.provoke("badMessage", simulated)
        await bench.back(simulated)

        assert "INVALID_ARGUMENT: malformed message" in seen
        assert [each["reason"] for each in bench.published("gatewayCommError")] == ["malformed"]


async def test_wrong_certificate_is_refused_and_attributed_to_the_device(tmp_path: Path) -> None:
    """The gateway's own stream continues."""
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        device = bench.devices[0]
        seen = await bench.provoke("wrongCertificate", simulated, wrong=await bench.credentials_of(device))
        (event,) = [each.event for each in bench.activities if each.event.name == "gatewayRejected"]

        assert "PERMISSION_DENIED: refused: notAGateway" in seen
        assert event.origin.device_id == device.id
        assert simulated.statistics.connected == 1
        assert bench.gateway.is_online


async def test_faults_are_provoked_in_turn_and_reported(tmp_path: Path) -> None:
    seen: list[str] = []
    async with gateway_server(tmp_path) as bench:
        simulated = bench.simulated()
        task = asyncio.get_running_loop().create_task(
            run_with_faults(
                simulated,
                ("reset", "foreignDevice", "wrongCertificate"),
                pause=0.02,
                tell=lambda name, _: seen.append(name),
                wrong=await bench.credentials_of(bench.devices[0]),
            )
        )
        await until(lambda: len(seen) >= 4)
        task.cancel()
        await asyncio.wait((task,))

        assert seen[:4] == ["reset", "foreignDevice", "wrongCertificate", "reset"]
        assert simulated.statistics.faults["reset"] == 2
        assert task.cancelled()


async def test_a_gateway_that_never_connects_ends_its_faults(tmp_path: Path) -> None:
    """The exception is the reason alone, not a group."""
    async with gateway_server(tmp_path) as bench:
        simulated = bench.simulated(await bench.credentials_of(bench.devices[0]))
        with pytest.raises(NotConnected, match="notAGateway"):
            await run_with_faults(simulated, ("reset",), pause=1, tell=lambda *_: None)


def test_every_fault_has_a_description() -> None:
    """The sentence is the help text of the command line."""
    assert Counter(meaning_of(name)[-1] for name in GATEWAY_FAULTS) == {".": len(GATEWAY_FAULTS)}
    assert GATEWAY_FAULTS.keys() > NEED_CERTIFICATE
