"""The simulated ChirpStack server writes what ChirpStack's own client reads, and faults that come with a hint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from span_events.dialects.chirpstack.rules import Kind
from span_events.errors import NotFound, ServerUnreachable
from span_events.events.activity import Severity, hint_of, severity_of
from span_events.fleet.chirpstack.intake import Outcome
from span_events.simulator.chirpstack.faults import CHIRPSTACK_FAULTS
from span_events.simulator.chirpstack.network import EndDevice, SimulatedNetwork
from tests.bench.fleets import CAUSE, fleet_bench
from tests.dialects.chirpstack.samples import EUI
from tests.dialects.chirpstack.test_strictly import MESSAGES


class Recorder:
    """A network whose events are kept, with a server that may fail."""

    def __init__(self) -> None:
        self.events: list[tuple[Kind, dict[str, Any]]] = []
        self.failure: Exception | None = None
        self.reported: list[tuple[str, str]] = []
        self.device = EndDevice(EUI, "gauge 3")
        self.network = SimulatedNetwork([self.device], self._deliver, rate=1.0, tell=self._tell)

    async def _deliver(self, kind: Kind, document: dict[str, Any]) -> str:
        if self.failure is not None:
            raise self.failure
        self.events.append((kind, document))
        return "accepted"

    def _tell(self, word: str, sentence: str) -> None:
        self.reported.append((word, sentence))


async def play(recorder: Recorder) -> None:
    """Report some of everything."""
    await recorder.network.join(recorder.device)
    for _ in range(30):
        await recorder.network.report(recorder.device)
    for fault in CHIRPSTACK_FAULTS.values():
        assert await fault(recorder.network, recorder.device)


async def test_each_event_is_read_strictly_by_chirpstacks_client() -> None:
    recorder = Recorder()
    await play(recorder)
    for kind, document in recorder.events:
        message = ParseDict(document, MESSAGES[kind]())
        assert message.device_info.dev_eui == EUI

    assert {kind for kind, _ in recorder.events} == MESSAGES.keys()
    counters = [document["fCnt"] for kind, document in recorder.events if kind is Kind.UP]
    assert counters[:30] == list(range(1, 31))


async def test_each_event_is_taken_and_each_fault_has_a_hint(tmp_path: Path) -> None:
    recorder = Recorder()
    await play(recorder)
    async with fleet_bench(tmp_path, messages={"rate": 1e6, "burst": 1_000}) as bench:
        collection = await bench.collection()
        outcomes = [
            await bench.chirpstack.take(
                collection, kind, json.dumps(document).encode(), content_type="", remote=("10.0.0.9", 1), cause=CAUSE
            )
            for kind, document in recorder.events
        ]

        assert outcomes.count(Outcome.DUPLICATE) == 1
        assert set(outcomes) == {Outcome.ACCEPTED, Outcome.DUPLICATE}
        assert set(bench.names) == {
            *("deviceCreated", "deviceJoined", "upstreamMessage", "deviceStatus"),
            *("deviceLocation", "downstreamAck", "networkLog"),
        }
        faults = [each for each in bench.events if severity_of(each) in (Severity.ERROR, Severity.WARNING)]
        assert len(faults) == len(CHIRPSTACK_FAULTS) - 1  # a repeated event is none of ours
        assert all(hint_of(each) for each in faults)


async def test_a_refusal_is_counted_and_told_once() -> None:
    recorder = Recorder()
    recorder.failure = NotFound("no such device")
    for _ in range(2):
        await recorder.network.join(recorder.device)

    assert recorder.network.statistics.outcomes == {"not_found": 2}
    assert recorder.reported == [("refused", "no such device")]


async def test_a_server_that_was_never_there_ends_it_and_one_that_restarts_loses_events() -> None:
    recorder = Recorder()
    recorder.failure = ServerUnreachable("nobody answers")
    with pytest.raises(ServerUnreachable):
        await recorder.network.join(recorder.device)
    recorder.failure = None
    await recorder.network.join(recorder.device)
    recorder.failure = ServerUnreachable("nobody answers")
    await recorder.network.join(recorder.device)

    assert (recorder.network.statistics.sent, recorder.network.statistics.lost) == (1, 1)
