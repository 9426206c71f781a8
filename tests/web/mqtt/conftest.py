"""A listener with small limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web.mqtt.bench import MqttBench, mqtt_bench


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[MqttBench]:
    """The listener."""
    limits = {"subscriptions": 3, "client_packets": 20.0, "client_octets": 5_000.0}
    async with mqtt_bench(tmp_path, mqtt=limits) as found:
        yield found
