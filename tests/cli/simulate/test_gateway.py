"""``simulate gateway`` against a whole server."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from span_events.cli.simulate.targets import NameAndPort
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import render
from span_events.registry.model import Device, Gateway
from tests.bench.clock import ManualClock
from tests.bench.programs import PROGRAM, Program
from tests.bench.servers import Running, running
from tests.bench.waiting import until
from tests.cli.bench import run
from tests.cli.simulate.ending import ended_when

QUICK = ("--rate", "1000")


class Bench:
    """The server, and the published events."""

    def __init__(self, started: Running) -> None:
        self.started = started
        self.directory = started.server.fleet.directory
        self.names: list[str] = []
        self.reasons: list[str] = []
        started.server.bus.listen(activities=lambda activity: self._note(activity.event))

    def _note(self, event: object) -> None:
        self.names.append(getattr(event, "name", ""))
        self.reasons.append(getattr(event, "reason", None) or "")

    @property
    def arguments(self) -> list[str]:
        """Options of every call."""
        started = self.started
        return ["--endpoint", f"http://{started.http}", "--token", started.token, "simulate", "gateway"]

    @property
    def target(self) -> tuple[str, str]:
        """Address of the gateway listener."""
        return "--gateways", self.started.server.addresses["gateways"]

    @property
    def gateways(self) -> list[Gateway]:
        """Gateways that are not built in."""
        return [each for each in self.directory.gateways.values() if not each.built_in]

    @property
    def devices(self) -> list[Device]:
        """All of them."""
        return list(self.directory.devices.values())

    async def simulate(
        self, *arguments: str, enough: Callable[[Any], Any] = lambda statistics: statistics.sent
    ) -> Result:
        """Run the command until its statistics are as wanted, and wait for the end of its streams at the server."""
        with ended_when(enough):
            result = await run(*self.arguments, *self.target, *arguments)
        await until(lambda: self.names.count("gatewayDisconnected") == self.names.count("gatewayConnected"))
        return result


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    """Start the server, with the real clock for TLS."""
    async with running(folder, ManualClock(time.time_ns())) as started:
        yield Bench(started)


async def test_everything_is_made_through_the_api_and_speaks(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        result = await it.simulate("--devices", "3", "--json", *QUICK)
        (gateway,), (collection,) = it.gateways, it.directory.collections.values()
        # The server logs to the same standard output, as it is in the same process here.
        counted, _ = json.JSONDecoder().raw_decode(result.stdout, result.stdout.index("{"))

        assert result.exit_code == 0
        assert gateway.tags == {"name": "simulated-gateway", "simulated": "true"}
        assert len(it.directory.devices_behind(gateway)) == len(it.devices) == 3
        assert counted["sent"] == it.names.count("gatewayUpstreamMessage") > 0
        assert counted["connected"] == it.names.count("gatewayConnected") == 1
        assert it.names[-1] == "gatewayDisconnected"
        assert it.reasons[-1] == "closed"
        where = render(collection.id)
        assert f"-- gateway {render(gateway.id)} with 3 devices in collection {where}" in result.stderr
        left = f"-- left gateway {render(gateway.id)} and 3 devices in {where} (--cleanup deletes what it made)\n"
        assert left in result.stderr


async def test_gateway_and_devices_of_an_earlier_run_are_used_again(tmp_path: Path) -> None:
    """With a new certificate, since the key of the old one was not kept."""
    async with bench(tmp_path) as it:
        await it.simulate(*QUICK)
        first = it.gateways, it.devices
        result = await it.simulate("--devices", "3", *QUICK)

        assert result.exit_code == 0
        assert it.gateways == first[0]
        assert it.devices[:2] == first[1]
        assert len(it.devices) == 3
        assert len(list(it.directory.certificates_of(it.gateways[0].id))) == 2
        assert "  connected 1" in result.stdout


async def test_a_gateway_that_is_connected_is_left_alone(tmp_path: Path) -> None:
    """Two runs would replace each other for ever."""
    async with bench(tmp_path) as it:
        await it.simulate(*QUICK)
        (other,) = it.gateways
        other.is_online = True
        await it.simulate(*QUICK)

        assert len(it.gateways) == 2
        assert len(it.directory.devices_behind(other)) == 2
        assert len(it.devices) == 4


async def test_a_gateway_of_a_person_is_left_alone(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        collection = await it.started.collection()
        roof = await it.started.server.fleet.gateways.create(collection, GatewayChange(name="roof"))
        result = await it.simulate("-c", render(collection.id), "--cleanup", *QUICK)

        assert result.exit_code == 0
        assert it.gateways == [roof]
        assert it.devices == []
        assert "-- deleted 2 devices\n" in result.stderr


async def test_cleaning_up_leaves_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.simulate(*QUICK)
        result = await it.simulate("--cleanup", *QUICK)

        assert result.exit_code == 0
        assert (it.gateways, it.devices) == ([], [])
        assert "-- deleted 2 devices" in result.stderr
        assert "remain" not in result.stderr


async def test_faults_are_provoked_and_reported(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        faults = ("foreignDevice", "wrongCertificate", "twice")
        options = [word for each in faults for word in ("--fault", each)]
        result = await it.simulate(
            *(*options, "--fault-pause", "0.05", "--rate", "10"),
            enough=lambda statistics: len(statistics.faults) == 3 and statistics.ended["ABORTED"],
        )

        assert result.exit_code == 0
        assert {"unknownDevice", "notAGateway", "replaced"} <= set(it.reasons)
        assert "-- foreignDevice: sent a message of device " in result.stderr
        assert "-- twice: connected once more; after " in result.stderr
        assert "-- ended: ABORTED: replaced by a newer connection" in result.stderr
        assert "ABORTED " in result.stdout


async def test_a_run_that_ends_before_the_gateway_is_connected_has_a_summary(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        result = await run(*it.arguments, *it.target, "--json", "--duration", "0.000001")
        counted, _ = json.JSONDecoder().raw_decode(result.stdout, result.stdout.index("{\n"))

    assert (result.exit_code, counted["sent"]) == (0, 0)


async def test_a_closed_gateway_port_fails_the_run(tmp_path: Path) -> None:
    """With --cleanup, created resources are deleted."""
    async with bench(tmp_path) as it:
        result = await run(*it.arguments, "--gateways", "127.0.0.1:1", "--cleanup")

        assert result.exit_code == 5
        assert "error: 127.0.0.1:1: Connection refused" in result.stderr
        assert "hint: Is the server running, with gateways.enabled?" in result.stderr
        assert (it.gateways, it.devices, list(it.directory.collections)) == ([], [], [])
        assert "sent " not in result.stdout


async def test_options_are_checked_before_any_request(tmp_path: Path) -> None:
    nowhere = await run("simulate", "gateway", "--gateways", "6674")
    port = await run("simulate", "gateway", "--gateways", "localhost:gateways")
    fault = await run("simulate", "gateway", "--fault", "duplicate")
    before = await run("simulate", "--devices", "3", "gateway")

    assert "'6674' is not a host and a port" in nowhere.stderr
    assert "'gateways' is not a port" in port.stderr
    assert "'duplicate' is not one of" in fault.stderr
    assert "--devices: give the options of `simulate gateway` after its name" in before.stderr
    assert {each.exit_code for each in (nowhere, port, fault, before)} == {2}


def test_the_server_may_have_a_name() -> None:
    """Its certificate is for that name, perhaps for no address."""
    assert NameAndPort().convert("iot.example.org:6674", None, None) == ("iot.example.org", 6674)
    assert NameAndPort().convert("[::1]:6674", None, None) == ("::1", 6674)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_the_stream_in_order_and_cleans_up(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    async with bench(tmp_path) as it:
        async with Program(PROGRAM, *it.arguments, *it.target, "--rate", "100", "--cleanup") as process:
            await until(lambda: "gatewayUpstreamMessage" in it.names)
            process.send_signal(number)
            ended = await process.finish()

        assert ended.status == status
        assert "  sent " in ended.output
        assert "-- deleted 2 devices and the collection" in ended.complaints
        assert "Traceback" not in ended.complaints
        assert "closed" in it.reasons
        assert (it.gateways, it.devices) == ([], [])
