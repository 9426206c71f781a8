"""Fixtures of the fleet's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.fleets import FleetBench, fleet_bench
from tests.bench.nodes import fleet_node
from tests.bench.peers.postgresql import PostgresqlServer
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
async def url(postgresql: PostgresqlServer) -> str:
    """Name an empty schema in PostgreSQL."""
    return await postgresql.new_schema()


@pytest.fixture
async def nodes(url: str, tmp_path: Path) -> AsyncIterator[tuple[FleetBench, FleetBench]]:
    """Two nodes that share a registry."""
    async with fleet_node(url, tmp_path / "one") as one, fleet_node(url, tmp_path / "two") as two:
        yield one, two


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A device that should update its firmware."""
    async with firmware_scene(tmp_path) as opened:
        yield opened
