"""Dashboard and alert rules: every query finds something in a real Prometheus that scrapes a real server."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from span_events.metrics import exposition
from tests.bench.peers.nats import nats_server
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.ports import free_port
from tests.bench.programs import find_program
from tests.bench.servers import Running, running
from tests.bench.waiting import PATIENCE, answered

CONFIG: Final = Path(__file__).parents[2] / "config"
ALERTS: Final = CONFIG / "prometheus" / "alerts.yml"
DASHBOARD: Final[dict[str, Any]] = json.loads((CONFIG / "grafana" / "span-events.json").read_text())
AWAY: Final = f"s3://span-events/images?endpoint=http://127.0.0.1:{free_port()}"
NAMES: Final = re.compile(r"\bspan_events_\w+")


def queries() -> Iterator[str]:
    """Yield each query of the dashboard, with Grafana's variables filled in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*")


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[str]:
    """Run Prometheus, which scrapes a server and evaluates the alerts twice a second; give its URL."""
    settings = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "span-events", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(settings))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    command = [find_program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--web.listen-address={address}"]
    process = await asyncio.create_subprocess_exec(
        *command, f"--storage.tsdb.path={folder}/data", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield f"http://{address}/api/v1"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ask(http: aiohttp.ClientSession, url: str, expression: str) -> list[Any]:
    """Return the samples of a query; an empty list while Prometheus starts."""
    try:
        async with http.get(f"{url}/query", params={"query": expression}) as reply:
            if reply.status == 503:
                return []
            document = await reply.json()
    except aiohttp.ClientConnectionError:
        return []
    assert document["status"] == "success", (expression, document)
    samples: list[Any] = document["data"]["result"]
    return samples


async def evaluated(http: aiohttp.ClientSession, url: str) -> dict[str, str]:
    """Return the fault of each alert, or an empty text, after its next evaluation."""
    begin = datetime.now(UTC)
    while True:
        async with http.get(f"{url}/rules") as reply:
            rules = [rule for group in (await reply.json())["data"]["groups"] for rule in group["rules"]]
        if all(datetime.fromisoformat(each["lastEvaluation"]) > begin for each in rules):
            return {each["name"]: each.get("lastError", "") for each in rules}
        await asyncio.sleep(0.05)


async def make_traffic(server: Running) -> None:
    """Let a device and a stranger send."""
    host, _, port = server.server.addresses["datagrams"].rpartition(":")
    server.receive(await server.device(await server.collection(), "127.0.9.9"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"hello", (host, int(port)))


async def test_every_query_of_dashboard_and_alerts_finds_its_metrics(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    """The server is a node of several, and its object store is away: it has all parts that one can have."""
    registry = {"url": await postgresql.new_schema()}
    async with (
        nats_server(tmp_path) as nats,
        running(tmp_path / "server", registry=registry, bus={"url": nats.url}, files={"url": AWAY}) as server,
        prometheus(tmp_path, server.http) as url,
        aiohttp.ClientSession() as http,
        asyncio.timeout(PATIENCE),
    ):
        await make_traffic(server)
        served = exposition(server.server.metrics)().decode()
        await answered(lambda: ask(http, url, "sum_over_time(up[1m]) >= 2"), bool)
        expressions = set(queries())
        missing = set(expressions)

        async def unanswered() -> set[str]:
            """Ask the rest again: a scrape that took too long hides all metrics until the next."""
            missing.difference_update([each for each in missing if await ask(http, url, each)])
            return missing

        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE / 2):
                await answered(unanswered, lambda rest: not rest)
        faults = await evaluated(http, url)

    assert len(expressions) > 40
    assert missing == set()
    assert set(faults.values()) == {""}, faults
    assert set(NAMES.findall(ALERTS.read_text())) - set(NAMES.findall(served)) == set()


def test_every_alert_fires_when_its_fault_lasts(tmp_path: Path) -> None:
    """Promtool runs the rules over made-up series: all of them fire, each in its time."""
    text = (Path(__file__).parent / "alerts.yml").read_text()
    rules = ALERTS.read_text()
    cases = tmp_path / "cases.yml"
    cases.write_text(text.replace("[ALERTS]", json.dumps([str(ALERTS)])))
    results = [
        subprocess.run([find_program("promtool"), *arguments], capture_output=True, text=True, check=False)
        for arguments in (("check", "rules", ALERTS), ("test", "rules", cases))
    ]

    assert [each.returncode for each in results] == [0, 0], "".join(each.stdout + each.stderr for each in results)
    named = re.findall(r"alert: (\w+)", rules)
    assert [each for each in named if f'alertname="{each}"' not in text] == []


def test_panels_of_the_dashboard_have_numbers_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    places = {(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels}

    assert len({each["id"] for each in panels}) == len(places) == len(panels)
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in panels)
