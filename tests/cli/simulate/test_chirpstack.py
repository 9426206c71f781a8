"""``simulate chirpstack`` against a whole server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from span_events.ids import render
from tests.bench.servers import Running, running
from tests.cli.bench import run
from tests.cli.simulate.ending import BRIEF, ended_when

QUICK = ("--rate", "1000")


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[tuple[Running, list[str], tuple[str, ...]]]:
    """Start the server; yield it, the names of published events, and the options of every call."""
    async with running(folder) as started:
        names: list[str] = []
        started.server.bus.listen(activities=lambda activity: names.append(activity.event.name))
        yield (
            started,
            names,
            ("--endpoint", f"http://{started.http}", "--token", started.token, "simulate", "chirpstack"),
        )


async def test_devices_are_made_report_and_are_used_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as (started, names, options):
        faults = ("--fault", "wrongKey", "--fault-pause", "0.01")
        with ended_when(lambda statistics: statistics.faults["wrongKey"] and "upstreamMessage" in names):
            first = await run(*options, "--devices", "3", *faults, "--json", *QUICK)
        with ended_when(lambda _: names.count("deviceJoined") == 5):
            second = await run(*options, "--cleanup", *QUICK)
        directory = started.server.fleet.directory
        (collection,) = directory.collections.values()
        # The server logs to the same standard output, as it is in the same process here.
        counted, _ = json.JSONDecoder().raw_decode(first.stdout, first.stdout.index("{\n"))

        assert (first.exit_code, second.exit_code) == (0, 0)
        assert names.count("deviceJoined") == 5
        assert {"upstreamMessage", "networkLog"} <= set(names)
        assert counted["faults"]["wrongKey"] > 0
        assert counted["sent"] == counted["outcomes"]["accepted"] + counted["outcomes"].get("rejected", 0)
        assert f"-- left 3 devices in {render(collection.id)} (--cleanup deletes them)\n" in first.stderr
        assert "-- wrongKey: join-request with another key\n" in first.stderr
        assert "-- deleted 2 devices\n" in second.stderr
        assert len(directory.devices) == 1


async def test_a_server_that_is_not_there_is_told() -> None:
    result = await run("--endpoint", "http://127.0.0.1:1", "simulate", "chirpstack", *BRIEF)
    fault = await run("simulate", "chirpstack", "--fault", "reset")

    assert result.exit_code == 5
    assert (fault.exit_code, "'reset' is not one of" in fault.stderr) == (2, True)
