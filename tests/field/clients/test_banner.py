"""The banner of `serve` says who can reach the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from span_events.app import Server
from span_events.cli.running import banner
from span_events.config import Config
from tests.bench.ports import FREE


async def said(folder: Path, **tables: dict[str, Any]) -> str:
    """Return the banner of a server whose tables have other settings."""
    settings: dict[str, Any] = {name: {**FREE.get(name, {}), **tables.get(name, {})} for name in {*FREE, *tables}}
    async with Server(Config(**settings), data_dir=folder) as server:
        return banner(server, None, data_dir=folder)


async def test_clients_07_the_banner_says_that_only_this_machine_reaches_the_server(tmp_path: Path) -> None:
    """And the two ways to open it."""
    text = await said(tmp_path)

    assert "\nOnly this machine can reach the server. `" in text
    assert "serve --host 0.0.0.0` opens the ports of devices, http.host that of the API.\n" in text


@pytest.mark.parametrize(("open_host", "shown"), [("0.0.0.0", "0.0.0.0"), ("::", "[::]")])
async def test_clients_07_the_banner_names_the_ports_that_the_network_reaches(
    tmp_path: Path, open_host: str, shown: str
) -> None:
    """With what that means for a device's identity."""
    text = await said(tmp_path, coap={"host": open_host}, datagrams={"host": open_host})

    assert f"  {shown}:" in text
    assert "\nThe network can reach datagrams, coap; only this machine http, " in text
    assert "\nOver plain UDP and CoAP, a device is its address: see `" in text
