"""
A reconnect storm: 1,000 clients of Server-Sent Events drop and resume with ``Last-Event-ID`` while events flow.

Each must get each event exactly once while the gap fits the history, and a marker (`eventsDropped`, `historyGap`) where
it does not. The first row's history holds ten seconds of events, that of the second less than a client is away.
"""

from __future__ import annotations

import asyncio
import random
import re
import selectors
import socket
import time
from collections import Counter, deque
from typing import Any, Final

from scripts.benchmarks.harness import Options, allow_sockets, server

CLIENTS: Final = 1_000
RATE: Final = 1_000
HISTORIES: Final = {"the gap fits the history": 10_000, "it does not": 100}
_AWAY: Final = (0.2, 0.8)
"""Seconds between drop and return, from and to."""
_DROPS: Final = 2
_STEPS: Final = 200
"""Drops and returns between two sweeps over the sockets."""
_NUMBER: Final = re.compile(rb'"bytes":"(\d+)"')
_FIELD: Final = b"id: "
_ID: Final = re.compile(rb"^id: (\w{26})$", re.MULTILINE)
_REASON: Final = re.compile(rb'"reason":"(\w+)"')


async def run(options: Options) -> None:
    """Let the storm rage over both histories, and print the counts."""
    allow_sockets()
    print(f"\nReconnect storm: {CLIENTS} clients, {RATE} events/s, {_DROPS} drops of each")
    for name, history in HISTORIES.items():
        arguments = ("--rate", str(RATE), "--history", str(history))
        async with server("storm", *arguments, uvloop=options.uvloop) as started:
            where = await started.answer()
            storm = _Storm(where, options.seconds)
            await asyncio.to_thread(storm.connect)
            started.tell("go")
            await asyncio.to_thread(storm.rage)
            started.tell("stop")
            result = await started.answer()
            await asyncio.to_thread(storm.calm, result["published"])
            rate = f"{result['published']} events, {result['rate']:.0f}/s, CPU {result['cpu']:.1f} s"
            print(f"  {name}: {rate}\n    {_told(storm.counts)}", flush=True)


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{each} {counts[each]}" for each in _COUNTS)


_COUNTS: Final = (
    "events",
    "drops",
    "resumed",
    "missing",
    "repeated",
    "historyGap",
    "slowSubscriber",
    "cut",
    "unfinished",
)


class _Client:
    """One client: its connection, and how far it has come."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.rest = b""
        self.last: int | None = None
        """Number of the last event."""
        self.id = b""
        """Its ULID."""
        self.marked = False
        """Whether a marker came after it."""


class _Storm:
    """
    All clients.

    Args:
        where: The server's answer.
        seconds: Seconds over which each of the drops is spread.
    """

    def __init__(self, where: dict[str, Any], seconds: float) -> None:
        self.counts: Counter[str] = Counter()
        host, _, port = where["addresses"]["http"].rpartition(":")
        self._address = (host, int(port))
        self._head = f"GET {where['path']} HTTP/1.1\r\nHost: a\r\nX-API-Token: {where['token']}\r\n".encode()
        self._head += b"Accept: text/event-stream\r\n"
        self._seconds = seconds
        self._selector = selectors.DefaultSelector()
        self._clients = [_Client() for _ in range(CLIENTS)]

    def connect(self) -> None:
        """Connect all clients."""
        for each in self._clients:
            self._connect(each)

    def rage(self) -> None:
        """Let each client drop and come back at random moments."""
        self._read_until(lambda: all(each.last is not None for each in self._clients), 60)
        now = time.monotonic()
        plan = []
        for each in self._clients:
            at = now
            for _ in range(_DROPS):
                at += random.uniform(0, self._seconds)
                back = at + random.uniform(*_AWAY)
                plan += [(at, False, each), (back, True, each)]
                at = back + 0.5
        steps = deque(sorted(plan, key=lambda step: step[0]))
        while steps:
            self._sweep()
            for _ in range(_STEPS):  # a busy machine is late, and reads nevertheless
                if not steps or steps[0][0] > time.monotonic():
                    break
                _, back, client = steps.popleft()
                self.counts["resumed" if back else "drops"] += 1
                (self._connect if back else self._drop)(client)

    def calm(self, published: int) -> None:
        """Wait until all clients have the last event, and close."""
        self._read_until(lambda: all(each.last == published for each in self._clients), 60)
        self.counts["unfinished"] = sum(each.last != published for each in self._clients)
        for each in self._clients:
            self._drop(each)
        self._selector.close()

    def _connect(self, client: _Client) -> None:
        opened = socket.create_connection(self._address)
        resume = b"Last-Event-ID: %b\r\n" % client.id if client.id else b""
        opened.sendall(self._head + resume + b"\r\n")
        opened.setblocking(False)
        client.socket, client.rest = opened, b""
        self._selector.register(opened, selectors.EVENT_READ, client)

    def _drop(self, client: _Client) -> None:
        if client.socket is not None:
            self._selector.unregister(client.socket)
            client.socket.close()
            client.socket = None

    def _read_until(self, done: Any, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not done():
            self._sweep()

    def _sweep(self) -> None:
        time.sleep(0.001)  # so that waking the client costs the server nothing
        for key, _ in self._selector.select(0.01):
            client = key.data
            try:
                octets = client.socket.recv(1 << 18)
            except BlockingIOError:
                continue
            except ConnectionError:
                octets = b""
            if octets:
                self._take(client, octets)
            else:
                self.counts["cut"] += 1
                self._drop(client)

    def _take(self, client: _Client, octets: bytes) -> None:
        """Read whole events, of which the chunks of the transfer coding hold one or more."""
        whole, mark, client.rest = (client.rest + octets).rpartition(b"\n\n")
        if not mark:
            return
        numbers = list(map(int, _NUMBER.findall(whole)))
        if numbers and client.last is None:
            client.last = numbers[0] - 1
        if b"eventsDropped" in whole:
            for each in whole.split(b"\n\n"):
                self._take_one(client, each)
        elif numbers:
            assert client.last is not None
            if numbers != list(range(client.last + 1, client.last + 1 + len(numbers))):
                self._judge(client, numbers)
            self.counts["events"] += len(numbers)
            at = whole.rindex(_FIELD) + len(_FIELD)
            client.last, client.id = numbers[-1], whole[at : at + 26]

    def _take_one(self, client: _Client, event: bytes) -> None:
        if b"event: eventsDropped" in event:
            reason = _REASON.search(event)
            assert reason is not None
            self.counts[reason[1].decode()] += 1
            client.marked = True
        elif found := _NUMBER.search(event):
            number = int(found[1])
            if client.last is not None and not (client.marked and number > client.last):
                self._judge(client, [number])
            self.counts["events"] += 1
            identifier = _ID.search(event)
            assert identifier is not None
            client.last, client.id, client.marked = number, identifier[1], False

    def _judge(self, client: _Client, numbers: list[int]) -> None:
        """Count the events that are missing without a marker, and those that came again."""
        assert client.last is not None
        last = client.last
        for number in numbers:
            self.counts["missing"] += max(0, number - last - 1)
            self.counts["repeated"] += number <= last
            last = max(last, number)
