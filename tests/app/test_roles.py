"""The ports of a server: the monitoring port has no API."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from tests.bench.servers import running


async def test_the_monitoring_port_serves_health_and_metrics_alone(tmp_path: Path) -> None:
    """A scrape or a probe reaches it although the API's port is for the network of its users."""
    async with (
        running(tmp_path, monitoring={"enabled": True}) as site,
        aiohttp.ClientSession(f"http://{site.server.addresses['monitoring']}") as session,
    ):
        statuses = {}
        for path in ("/healthz", "/readyz", "/metrics", "/span/collections", "/"):
            async with session.get(path) as reply:
                statuses[path] = reply.status
        async with session.post("/x") as reply:
            problem = await reply.json(content_type=None)

    assert statuses == {"/healthz": 200, "/readyz": 200, "/metrics": 200, "/span/collections": 404, "/": 404}
    assert "serves only /healthz, /readyz and /metrics" in problem["detail"]
    assert "X-Request-Id" in reply.headers
