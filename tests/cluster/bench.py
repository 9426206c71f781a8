"""A server of several processes: nodes that share a NATS server and a database, and what tests do with them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp

from tests.bench.forked import ForkedProgram
from tests.bench.live import Document, LiveServer, Tail, free_addresses
from tests.bench.peers.postgresql import PostgresqlServer, postgresql_server
from tests.bench.ports import free_port
from tests.bench.programs import find_program
from tests.bench.waiting import waited


class Nats:
    """
    Debian's nats-server, on one port over restarts, with JetStream in memory.

    Args:
        folder: For its log and its (empty) store.
    """

    def __init__(self, folder: Path) -> None:
        self._port, self._monitor, self._folder = free_port(), free_port(), folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Run it, and wait until it takes clients."""
        log = self._folder / "nats.log"
        command = (find_program("nats-server"), "-js", "-sd", str(self._folder), "-a", "127.0.0.1")
        ports = ("-p", str(self._port), "-m", str(self._monitor))
        with log.open("wb") as output:
            self._process = subprocess.Popen((*command, *ports), stdout=output, stderr=output)
        waited(lambda: b"Server is ready" in log.read_bytes())

    async def connections(self) -> dict[int, tuple[int, int]]:
        """Return the messages that it got and sent on each connection so far, as it counts them."""
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{self._monitor}/connz") as reply:
            page = await reply.json()
        return {each["cid"]: (each["in_msgs"], each["out_msgs"]) for each in page["connections"]}

    def kill(self) -> None:
        """End it without a goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Node(LiveServer):
    """One process of the server, or the parent of several."""

    def entries(self, event: str, process: str) -> list[Document]:
        """Return the lines of the log (in JSON) with an event of a process."""
        lines = [json.loads(each) for each in self.log.splitlines() if each.startswith("{")]
        return [each for each in lines if (each["event"], each.get("process")) == (event, process)]

    def child(self, name: str) -> int | None:
        """Return the process that a parent started last under a name."""
        found = self.entries("process_started", name)
        return int(found[-1]["pid"]) if found else None

    def refused(self) -> tuple[int, str]:
        """Start it although it must not start; return its exit status and its log."""
        program = ForkedProgram(("serve", "--data-dir", str(self.data_dir)), self._environment)
        with program.stdout, program.stderr:
            log = program.stderr.read()
        return program.join(), log

    async def sees(self, tail: Tail, act: Callable[[], None], name: str, **data: str) -> Document:
        """
        Act until a subscriber sees the event of it, and return that.

        A node learns of a new device, and a subscription reaches other nodes, a moment after the reply of the API.
        """
        waiting = asyncio.create_task(tail.until(name, **data))
        try:
            while not waiting.done():
                act()
                await asyncio.wait({waiting}, timeout=0.1)
        finally:
            waiting.cancel()
        return waiting.result()


class Cluster:
    """
    The nodes of one server; each has the data directory of all.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path, nats: Nats, database: PostgresqlServer, registry_url: str) -> None:
        self.nats, self.database, self.registry_url = nats, database, registry_url
        self._folder = folder
        self.settings = {"bus.url": nats.url, "registry.url": registry_url}
        """Settings that all nodes have."""
        self._token = ""
        self._free_addresses = free_addresses()

    @contextmanager
    def node(self, name: str, settings: Mapping[str, object] | None = None) -> Iterator[Node]:
        """Run a node."""
        node = self._new_node(name, settings or {})
        with node:
            self._token = node.token
            yield node

    def refused(self, name: str, settings: Mapping[str, object]) -> tuple[int, str]:
        """Start a node that must not start; return its exit status and its log."""
        return self._new_node(name, settings).refused()

    def _new_node(self, name: str, settings: Mapping[str, object]) -> Node:
        (self._folder / name).mkdir(exist_ok=True)
        node = Node(self._folder / name, {**self.settings, **settings})
        node.data_dir = self._folder / "data"
        node.token, node.free_addresses = self._token, self._free_addresses
        return node


def alive(pid: int) -> bool:
    """Return whether a process runs."""
    return Path(f"/proc/{pid}").exists()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Run NATS and PostgreSQL, for nodes to start."""
    with ExitStack() as stack:
        database = stack.enter_context(postgresql_server())
        nats = Nats(folder)
        stack.callback(nats.kill)
        nats.start()
        yield Cluster(folder, nats, database, asyncio.run(database.new_schema()))
