"""``serve`` as supervisors and scripts see it: a process with a ready file, signals and exit statuses."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from span_events.app import Server
from span_events.cli.running import banner, coap_client
from span_events.cli.serve import DEVICE_SIDE, loop_factory, with_device_host
from span_events.config import Config
from span_events.errors import ListenerUnavailable
from span_events.simulator.demo.demo import with_mobile_core
from tests.bench.ports import FREE, FREE_VARIABLES
from tests.bench.programs import PROGRAM, Program
from tests.bench.programs import run as run_program
from tests.cli.bench import run


@asynccontextmanager
async def serving(tmp_path: Path, *arguments: str) -> AsyncIterator[tuple[Program, dict[str, str]]]:
    """Run a server on free ports until the end of the block, and hand out its ready file."""
    ready = tmp_path / "ready"
    command = (PROGRAM, "serve", "--data-dir", str(tmp_path / "data"), "--ready-file", str(ready), *arguments)
    async with Program(*command, environment=FREE_VARIABLES) as process:
        while "Ctrl-C" not in await process.line():
            pass
        yield process, json.loads(ready.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_gracefully_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    """The ready file holds the bound addresses, and is removed with the server."""
    async with serving(tmp_path) as (process, addresses):
        process.send_signal(number)
        ended = await process.finish()

    assert ended.status == 0
    assert {"http", "datagrams", "coap"} <= addresses.keys()
    assert not (tmp_path / "ready").exists()


async def test_the_banner_shows_data_directory_and_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the admin token at the first start; later with how another one is made, for this very data directory."""
    monkeypatch.chdir(tmp_path)
    shown, tokens = [], []
    for _ in range(2):
        async with Server(Config(**FREE), data_dir=Path("data")) as server:
            shown.append(banner(server, None, data_dir=Path("data")))
            tokens.append(server.first_token)

    data_dir = tmp_path / "data"
    assert all(re.search(rf"\n  data +{re.escape(str(data_dir))}\n", each) for each in shown)
    assert f"\nAdmin token (may do everything; shown this once, keep it):\n  {tokens[0]}\n" in shown[0]
    assert f"`span-events token create --data-dir {data_dir} --resource / --write` makes another" in shown[1]


async def test_the_banner_of_the_demo_names_a_page_before_its_console(tmp_path: Path) -> None:
    """A console on a page of another origin, or on none, may not open the stream."""
    async with Server(Config(**FREE), data_dir=tmp_path) as it:
        said = banner(it, await it.start_demo(), data_dir=tmp_path)

    assert f"open http://{it.addresses['http']}/ first, then in its console:\n  new WebSocket(" in said


async def test_the_banner_of_the_demo_explains_the_mobile_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a command to copy from anywhere; the secret itself is not shown."""
    monkeypatch.chdir(tmp_path)
    config = with_mobile_core(Config(**FREE), Path("data"))
    async with Server(config, data_dir=Path("data")) as it:
        said = banner(it, await it.start_demo(), data_dir=Path("data"))

    secret = tmp_path / "data" / "radius-demo.secret"
    ports = f"{it.addresses['radius']},{it.addresses['radius-accounting']}"
    assert f"    simulate --core {ports} --core-secret-file {secret}\n" in said
    assert secret.read_text().strip() not in said
    assert f"\n  radius            {it.addresses['radius']}\n" in said


async def test_a_demo_without_a_mobile_core_of_its_own_does_not_speak_of_one(tmp_path: Path) -> None:
    async with Server(Config(**FREE), data_dir=tmp_path) as it:
        said = banner(it, await it.start_demo(), data_dir=tmp_path)

    assert "--core" not in said
    assert "radius" not in said


async def test_the_banner_of_the_demo_explains_another_gateway(tmp_path: Path) -> None:
    """At an address that one can connect to, whatever is bound."""
    everywhere = FREE | {"gateways": {"port": 0, "host": "0.0.0.0"}}
    async with Server(Config(**everywhere), data_dir=tmp_path / "with") as it:
        said = banner(it, await it.start_demo(), data_dir=tmp_path)
    async with Server(Config(**FREE | {"gateways": {"enabled": False}}), data_dir=tmp_path / "without") as other:
        silent = banner(other, await other.start_demo(), data_dir=tmp_path)

    port = it.addresses["gateways"].rpartition(":")[2]
    assert f"    simulate gateway --gateways 127.0.0.1:{port}\n" in said
    assert "gateway" not in silent


async def test_serve_with_a_demo_serves_radius_and_ends_in_order(tmp_path: Path) -> None:
    """Two ports, both in the ready file."""
    async with serving(tmp_path, "--demo") as (process, addresses):
        process.send_signal(signal.SIGTERM)
        ended = await process.finish()

    assert {"radius", "radius-accounting"} <= addresses.keys()
    assert ended.status == 0


@pytest.mark.parametrize(
    ("there", "name"),
    [
        (["coap-client", "coap-client-openssl"], "coap-client"),
        (["coap-client-notls", "coap-client-gnutls"], "coap-client-gnutls"),
        ([], "coap-client"),
    ],
)
def test_the_banner_names_the_coap_client_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: list[str], name: str
) -> None:
    """Debian 12 has no plain coap-client; a line to copy that is not found ends a first try."""
    for each in there:
        (tmp_path / each).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert coap_client() == name


async def test_a_token_that_the_command_line_makes_works_on_a_running_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, addresses):
        endpoint = f"http://{addresses['http']}"
        made = await run("token", "create", "--data-dir", str(tmp_path / "data"), "--resource", "/", "--write")
        result = await run("collection", "create", "--endpoint", endpoint, "--token", made.stdout.strip())

    assert made.exit_code == result.exit_code == 0
    assert len(result.stdout.strip()) == 14


async def test_a_port_that_is_taken_ends_with_status_3(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        variables = {**FREE_VARIABLES, "SPAN_EVENTS_COAP__PORT": port}
        ended = await run_program(PROGRAM, "serve", "--data-dir", str(tmp_path), environment=variables)

    assert ended.status == 3
    assert "error: coap" in ended.complaints
    assert port in ended.complaints
    assert "hint: `ss -lntup" in ended.complaints
    assert "Traceback" not in ended.complaints


async def test_a_faulty_configuration_ends_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[coap]\nport = -1\n")
    result = await run("serve", "--data-dir", str(tmp_path), "--config", str(tmp_path / "config.toml"))

    assert result.exit_code == 2
    assert "error: coap.port: -1 is below 0" in result.stderr


def test_host_opens_the_device_side_only() -> None:
    """The API stays at http.host: opening it to the network is a separate decision."""
    opened = with_device_host(Config(), "0.0.0.0")

    assert {getattr(opened, name).host for name in DEVICE_SIDE} == {"0.0.0.0"}
    assert opened.http == Config().http


def test_uvloop_is_used_if_installed() -> None:
    factory = loop_factory()
    assert factory is not None
    loop = factory()
    loop.close()

    assert type(loop).__module__.startswith("uvloop")


async def test_a_first_start_that_fails_does_not_use_up_the_admin_token(tmp_path: Path) -> None:
    """The token is shown once; created before a failed start, it would exist unseen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        tables = FREE | {"coap": {"port": taken.getsockname()[1]}}
        with pytest.raises(ListenerUnavailable):
            async with Server(Config(**tables), data_dir=tmp_path):
                pass
    async with Server(Config(**FREE), data_dir=tmp_path) as server:
        assert server.first_token
