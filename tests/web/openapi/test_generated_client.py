"""A client that openapi-python-client generates from ``/openapi.json`` uses the API."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.bench.programs import run
from tests.web.conftest import WebBench, web_bench

GENERATOR: Final = str(Path(sys.executable).with_name("openapi-python-client"))
USE: Final = """
import sys
from generated.api.devices import create_device, list_devices
from generated.client import AuthenticatedClient
from generated.models import DeviceBody

url, token, collection = sys.argv[1:]
with AuthenticatedClient(url, token) as client:
    made = create_device.sync(collection, client=client, body=DeviceBody.from_dict({"tags": {"name": "pump-3"}}))
    found = list_devices.sync(collection, client=client)
print(made.device_id, *(each.device_id for each in found.devices), found.devices[0].tags["name"])
"""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API."""
    async with web_bench(tmp_path) as bench:
        yield bench


async def test_a_generated_client_creates_a_device_and_lists_it(api: WebBench, tmp_path: Path) -> None:
    collection = await api.collection()
    config = tmp_path / "config.yml"
    config.write_text("post_hooks: []\n")
    options = ("--meta", "none", "--fail-on-warning", "--config", str(config))
    made = await run(
        *(GENERATOR, "generate", "--url", f"{api.url}/openapi.json", *options),
        *("--output-path", str(tmp_path / "generated")),
    )
    command = (sys.executable, "-c", USE, api.url, api.admin, collection)
    used = await run(*command, environment={"PYTHONPATH": str(tmp_path)})
    words = used.output.split()

    assert made.status == 0, made.printed
    assert used.status == 0, used.printed
    assert words[0] == words[1]
    assert words[2:] == ["pump-3"]
