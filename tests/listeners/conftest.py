"""Fixtures of the listeners' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.listeners.coap.bench import CoapBench, coap_bench
from tests.listeners.gateways.bench import GatewayBench, gateway_bench
from tests.listeners.radius.bench import RadiusBench, radius_bench


@pytest.fixture
async def coap(tmp_path: Path) -> AsyncIterator[CoapBench]:
    """A CoAP listener with default settings."""
    async with coap_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
async def radius(tmp_path: Path) -> AsyncIterator[RadiusBench]:
    """A listener with one NAS, and a device with SIM, hardware and a static address."""
    async with radius_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
async def gateways() -> AsyncIterator[GatewayBench]:
    """A listener for gateways with default settings."""
    async with gateway_bench() as bench:
        yield bench
