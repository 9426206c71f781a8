"""The fleet as a whole: the failure of one part does not affect the others."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.errors import StorageUnavailable
from tests.bench.fleets import FleetBench

SWEPT = ("reception", "cellular", "gateway_sessions", "outbox", "firmware", "blobs")


@pytest.mark.parametrize("broken", SWEPT)
def test_a_failing_sweep_does_not_prevent_the_others(
    bench: FleetBench, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Otherwise one defect would stop all timeouts of this server; the first failure is raised."""
    swept: list[str] = []

    def sweep(part: str) -> None:
        swept.append(part)
        if part == broken:
            raise ZeroDivisionError(part)

    for part in SWEPT:
        monkeypatch.setattr(getattr(bench, part), "sweep", lambda part=part: sweep(part))
    with pytest.raises(ZeroDivisionError, match=broken):
        bench.sweep()

    assert sorted(swept) == sorted(SWEPT)


async def test_a_failing_write_does_not_prevent_the_others(bench: FleetBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is written with the next call."""
    device, written = await bench.device("10.0.0.1"), []

    async def fail(*_: Any) -> None:
        raise StorageUnavailable("the disk is full")

    async def note(*_: Any) -> None:
        written.append(True)

    bench.reception.changed(device)
    monkeypatch.setattr(bench.cellular, "commit", fail)
    monkeypatch.setattr(bench.outbox, "flush", note)
    with pytest.raises(StorageUnavailable, match="the disk is full"):
        await bench.flush()

    assert written == [True]
