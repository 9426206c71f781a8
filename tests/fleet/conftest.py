"""Fixtures of the fleet's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.fleets import FleetBench, fleet_bench
from tests.fleet.firmware.scene import Scene, firmware_scene


@pytest.fixture
async def bench(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[FleetBench]:
    """A fleet with small limits; a test may give settings of its own as the parameter."""
    settings: dict[str, Any] = {
        "messages": {"max_payload": 100, "rate": 10.0, "burst": 5},
        "sessions": {"idle_timeout": 900.0},
        "downstream": {"max_payload": 50, "per_device": 3, "expiry": 3600.0},
        "rejections": {"burst": 3, "window": 60.0, "senders": 5},
    }
    async with fleet_bench(tmp_path, **settings | getattr(request, "param", {})) as opened:
        yield opened


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A device that should update its firmware."""
    async with firmware_scene(tmp_path) as opened:
        yield opened
