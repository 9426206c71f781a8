"""The cluster of `scripts/cluster`: the guide's commands, and each of its programs killed in turn."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from scripts.nodes.cluster import COUNT
from span_events.wire.coap.blocks import block_of
from span_events.wire.coap.messages import Code, Option
from tests.bench.peers.versitygw import needs_versitygw
from tests.bench.ports import free_ports
from tests.bench.programs import run
from tests.bench.waiting import PATIENCE, until
from tests.cluster.load import Follower, Form, Load, Reporter
from tests.listeners.coap.bench import RawClient
from tests.listeners.coap.firmware_bench import fetch
from tests.test_readme import GUIDES, blocks

pytestmark = needs_versitygw

ROOT: Final = Path(__file__).parents[2]
ENDLESS: Final = "# runs until Ctrl-C\n"
NODES: Final = ("web1", "web2", "devices1", "devices2")
VICTIMS: Final = ("object-store", "nats", "postgresql")


class Cluster:
    """A cluster in a process of its own, as a reader of the guide runs it."""

    def __init__(self, folder: Path) -> None:
        self.environment = folder / "cluster.env"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            ports = ("--ports", str(free_ports(COUNT)))
            command = [str(ROOT / "scripts" / "cluster"), *ports, "--environment", str(self.environment)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        patience = time.monotonic() + PATIENCE
        while not self.environment.exists():
            is_starting = self._process.poll() is None and time.monotonic() < patience
            assert is_starting, self.log
            time.sleep(0.05)
        self.variables = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", self.environment.read_text(), re.MULTILINE))

    @property
    def log(self) -> str:
        """Its complaints so far."""
        return self._log.read_text()

    def address(self, name: str) -> tuple[str, int]:
        """Return host and port of a variable."""
        host, _, port = self.variables[name].rpartition(":")
        return host, int(port)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a program as a power cut does, or with another signal."""
        pid = int((Path(self.variables["CLUSTER"]) / f"{name}.pid").read_text())
        os.kill(pid, number)

    def leaders(self) -> list[str]:
        """Return the nodes that begin to lead, in the order in which they did."""
        logs = {name: (Path(self.variables["CLUSTER"]) / f"{name}.log").read_text() for name in NODES}
        lines = [(line, name) for name, log in logs.items() for line in log.splitlines() if "leader_begins" in line]
        return [name for _, name in sorted(lines)]

    @asynccontextmanager
    async def restarted(self, name: str) -> AsyncIterator[None]:
        """Wait at the end until a program that was killed meanwhile is back."""
        before = self.log.count(f"{name} is back")
        yield
        await until(lambda: self.log.count(f"{name} is back") > before)

    def stop(self) -> None:
        """Stop it with Ctrl-C; nothing is left."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(PATIENCE) == 0, self.log
        assert not Path(self.variables["CLUSTER"]).exists()
        assert not self.environment.exists()

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, at: str = "WEB1") -> Any:
        """Call the API of a node, which must succeed."""
        status, document = await self.ask(method, path, body, at=at)
        assert status == 200, document
        return document

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, at: str) -> tuple[int, Any]:
        """Call the API of a node; return the status and the document."""
        async with (
            asyncio.timeout(PATIENCE),
            aiohttp.ClientSession(headers={"X-API-Token": self.variables["SPAN_API_TOKEN"]}) as http,
            http.request(method, self.variables[at] + path, json=body) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def lines(self, path: str, *, at: str) -> list[Any]:
        """Read a stream of a node to its end."""
        async with (
            asyncio.timeout(PATIENCE),
            aiohttp.ClientSession(headers={"X-API-Token": self.variables["SPAN_API_TOKEN"]}) as http,
            http.get(self.variables[at] + path) as response,
        ):
            return [json.loads(line) async for line in response.content]

    async def device(self, address: str) -> tuple[str, str]:
        """Make a device at an address in a new collection; return the ids of both."""
        collection = (await self.call("POST", "/span/collections", {}))["collectionId"]
        body = {"metadata": {"ciot": {"allocatedIp": address}}}
        made = await self.call("POST", f"/span/collections/{collection}/devices", body)
        return collection, made["deviceId"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield found
    finally:
        found.stop()


@asynccontextmanager
async def loaded(cluster: Cluster, network: str) -> AsyncIterator[Load]:
    """Let four devices of a collection send, with a subscriber at one web node, and one in each form at the other."""
    collection = (await cluster.call("POST", "/span/collections", {}))["collectionId"]
    reporters = []
    for number in range(4):
        address = f"{network}.{number + 1}"
        body = {"metadata": {"ciot": {"allocatedIp": address}}}
        made = await cluster.call("POST", f"/span/collections/{collection}/devices", body)
        reporters.append(Reporter(address, cluster.address(f"DEVICES{number % 2 + 1}"), made["deviceId"]))
    first, second = (cluster.variables[name] for name in ("WEB1", "WEB2"))
    path, token = f"/span/collections/{collection}/activity", cluster.variables["SPAN_API_TOKEN"]
    followers = [Follower(Form.WEBSOCKET, [first, second], path, token)]
    followers += [Follower(form, [second, first], path, token) for form in Form]
    load = Load(reporters, followers)
    async with load.running():
        yield load
    histories = [await cluster.lines(path + "?follow=0&extended=1", at=name) for name in ("WEB1", "WEB2")]
    for number, each in enumerate(followers):
        assert not (faults := load.faults_of(each, histories[number > 0])), (each.form, each.connections, faults)


async def test_the_commands_of_the_guide_show_one_event_on_two_nodes(cluster: Cluster, tmp_path: Path) -> None:
    """Those that run until Ctrl-C run beside the others."""
    lines, tails = ["set -euo pipefail"], 0
    for each in blocks(GUIDES["scaling"].read_text(), "sh"):
        text = each.replace(".cache/cluster.env", str(cluster.environment)).replace("npx ", "").strip()
        if not text.startswith(ENDLESS):
            lines.append(text)
        elif "scripts/cluster" not in text:
            tails += 1
            lines += [
                f"{text.removeprefix(ENDLESS)} <> open > tail{tails} & kill{tails}=$!",
                # Not -q: curl fails, and with it the pipe, if grep ends before it has read everything.
                f"until curl -s $WEB{tails}/metrics | grep '^span_events_subscribers 1' > metric; do sleep 0.1; done",
            ]
    for number in range(1, tails + 1):
        lines.append(f"until grep -q upstreamMessage tail{number}; do sleep 0.1; done")
        lines.append(f"kill $kill{number} || true")  # one of them may have ended with its node
    os.mkfifo(tmp_path / "open")
    tools = f"{ROOT}/.cache/npm/node_modules/.bin:{os.environ['PATH']}"
    async with cluster.restarted("web2"):
        ended = await run("bash", "-c", f"cd {tmp_path}\n" + "\n".join(lines), environment={"PATH": tools})
        assert ended.status == 0, ended.printed

    assert tails == 2


async def test_an_image_of_one_node_is_served_by_the_others(cluster: Cluster) -> None:
    """Uploaded at a web node, downloaded from both device nodes."""
    collection, _ = await cluster.device("127.0.7.1")
    body = {"version": "1.0", "image": base64.b64encode(bytes(3000)).decode()}
    image = await cluster.call("POST", f"/span/collections/{collection}/firmware", body)
    target = {"firmware": {"management": "collection", "targetFirmwareId": image["imageId"]}}
    await cluster.call("PATCH", f"/span/collections/{collection}", target, at="WEB2")
    found = []
    for name in ("DEVICES1_COAP", "DEVICES2_COAP"):
        client = RawClient("127.0.7.1", cluster.address(name))
        while (await client.exchange(fetch(0, 6))).code != Code.CONTENT:
            pass  # the node has not seen the change yet
        replies = [await client.exchange(fetch(number, 6, message_id=number + 1)) for number in range(3)]
        client.close()
        found.append(replies)

    assert {each.code for replies in found for each in replies} == {Code.CONTENT}
    assert [b"".join(each.payload for each in replies) for replies in found] == [bytes(3000)] * 2
    assert [getattr(block_of(replies[-1], Option.BLOCK2), "more", None) for replies in found] == [False, False]


@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_server_that_is_killed_under_load_is_missed_by_no_device(cluster: Cluster, victim: str) -> None:
    """Its restart mends everything without a hand; a subscriber has each event once, and in order."""
    collection, _ = await cluster.device(f"127.0.7.{10 + VICTIMS.index(victim)}")
    async with loaded(cluster, f"127.0.{20 + VICTIMS.index(victim)}") as load:
        async with cluster.restarted(victim):
            cluster.kill(victim)
            if victim != "nats":
                await load.goes_on()
        began = time.monotonic()
        await load.goes_on()
        body = {"version": victim, "image": base64.b64encode(victim.encode()).decode()}
        async with asyncio.timeout(PATIENCE):
            while (await cluster.ask("POST", f"/span/collections/{collection}/firmware", body, at="WEB2"))[0] == 503:
                pass  # the node asks the object store every other second
        tell(victim, began, load)
    dropped = {reason for each in load.followers for reason in each.dropped}

    assert [each.connections for each in load.followers] == [1] * 4
    assert dropped == ({"busLost"} if victim == "nats" else set())


async def test_nodes_that_are_killed_or_restarted_in_turn_under_load_are_missed_by_nobody(cluster: Cluster) -> None:
    """Subscribers go on at the other web node. When the leader is killed, another leads before it is back."""
    leader = cluster.leaders()[-1]
    signals = {leader: signal.SIGKILL, "devices2": signal.SIGKILL}
    async with loaded(cluster, "127.0.30") as load:
        for name in NODES:
            async with cluster.restarted(name):
                cluster.kill(name, signals.get(name, signal.SIGTERM))
                await load.goes_on(*{"devices1": (1, 3), "devices2": (0, 2)}.get(name, ()))
                if name == leader:
                    await until(lambda: cluster.leaders()[-1] != leader)
            began = time.monotonic()
            await load.goes_on()
            tell(name, began, load)

    assert all(each.connections > 1 and not each.dropped for each in load.followers)


def tell(victim: str, began: float, load: Load) -> None:
    """Print how long it took until everything worked; see `pytest -rP`."""
    sent = sum(each.number for each in load.reporters)
    print(f"{victim}: {time.monotonic() - began:.1f} s until everything works; {sent} messages so far")  # noqa: T201
