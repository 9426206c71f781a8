"""The cluster of `scripts/cluster`: the guide's commands, and each of its programs killed in turn."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from span_events.wire.coap.blocks import block_of
from span_events.wire.coap.messages import Code, Option
from tests.bench.peers.versitygw import needs_versitygw
from tests.bench.programs import run
from tests.bench.waiting import PATIENCE, until
from tests.listeners.coap.bench import RawClient
from tests.listeners.coap.firmware_bench import fetch
from tests.test_readme import GUIDES, blocks

pytestmark = needs_versitygw

ROOT: Final = Path(__file__).parents[2]
ENDLESS: Final = "# runs until Ctrl-C\n"
VICTIMS: Final = ("web2", "devices2", "object-store", "nats", "postgresql")


class Cluster:
    """A cluster in a process of its own, as a reader of the guide runs it."""

    def __init__(self, folder: Path) -> None:
        self.environment = folder / "cluster.env"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            command = [str(ROOT / "scripts" / "cluster"), "--ports", "0", "--environment", str(self.environment)]
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

    def kill(self, name: str) -> None:
        """End a program as a power cut does."""
        pid = int((Path(self.variables["CLUSTER"]) / f"{name}.pid").read_text())
        os.kill(pid, signal.SIGKILL)

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

    async def device(self, address: str) -> tuple[str, str]:
        """Make a device at an address in a new collection; return the ids of both."""
        collection = (await self.call("POST", "/span/collections", {}))["collectionId"]
        body = {"metadata": {"ciot": {"allocatedIp": address}}}
        made = await self.call("POST", f"/span/collections/{collection}/devices", body)
        return collection, made["deviceId"]

    @asynccontextmanager
    async def stream(self, collection: str, at: str) -> AsyncIterator[list[dict[str, Any]]]:
        """Subscribe to a collection at a node; the list grows."""
        headers, seen = {"X-API-Token": self.variables["SPAN_API_TOKEN"]}, list[dict[str, Any]]()
        url = f"{self.variables[at]}/span/collections/{collection}/activity?extended=1"
        async with aiohttp.ClientSession(headers=headers) as http, http.ws_connect(url) as stream:

            async def read() -> None:
                async for message in stream:
                    seen.append(message.json())

            task = asyncio.create_task(read())
            await until(lambda: {"type": "live"} in seen)
            yield seen
            task.cancel()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield found
    finally:
        found.stop()


def messages(seen: list[dict[str, Any]]) -> int:
    """Count the messages of the device."""
    return sum(each.get("event") == "upstreamMessage" for each in seen)


@asynccontextmanager
async def sender(host: str) -> AsyncIterator[socket.socket]:
    """Open a device's socket."""
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind((host, 0))
        yield opened


async def heard(cluster: Cluster, sender: socket.socket, seen: list[dict[str, Any]], *nodes: str) -> None:
    """Send to one node after the other until a message of each is in a stream."""
    for node in nodes:
        count = messages(seen)
        async with asyncio.timeout(PATIENCE):
            while messages(seen) == count:
                sender.sendto(b"hello", cluster.address(node))
                await asyncio.sleep(0.1)  # a device that sends again


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
                f"until curl -s $WEB{tails}/metrics | grep -q '^span_events_subscribers 1'; do sleep 0.1; done",
            ]
    for number in range(1, tails + 1):
        lines.append(f"until grep -q upstreamMessage tail{number}; do sleep 0.1; done; kill $kill{number}")
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
async def test_a_killed_program_is_missed_by_nobody_else(cluster: Cluster, victim: str) -> None:
    """Its restart mends everything without a hand, in the printed time; the stream at the other node never ended."""
    address = f"127.0.7.{10 + VICTIMS.index(victim)}"
    collection, _ = await cluster.device(address)
    async with sender(address) as socket_, cluster.stream(collection, "WEB1") as seen:
        await heard(cluster, socket_, seen, "DEVICES1", "DEVICES2")
        async with cluster.restarted(victim):
            cluster.kill(victim)
            if victim != "nats":
                await heard(cluster, socket_, seen, "DEVICES1")
        began = time.monotonic()
        await heard(cluster, socket_, seen, "DEVICES1", "DEVICES2")
        body = {"version": victim, "image": base64.b64encode(victim.encode()).decode()}
        async with asyncio.timeout(PATIENCE):
            while (await cluster.ask("POST", f"/span/collections/{collection}/firmware", body, at="WEB2"))[0] == 503:
                pass  # the node asks the object store every other second
        print(f"{victim}: {time.monotonic() - began:.1f} s until everything works")  # noqa: T201  # see `pytest -rP`
