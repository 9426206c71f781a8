"""
A steady load on several nodes, and subscribers that resume: nothing may be missing for them, doubled, or out of order.

Each device sends its next message once the last one was seen: a slow machine makes the load smaller, and no test fail.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from itertools import cycle, pairwise
from typing import Any, Final

import aiohttp

from tests.bench.waiting import PATIENCE, until

Document = dict[str, Any]

_PAUSE: Final = 0.04
"""Seconds that a device rests between two messages."""
_AGAIN: Final = 0.1
"""Seconds after which a device repeats a message that nobody saw: datagrams get lost with their node."""
_LENGTHS: Final = 1_000
"""A message is as long as its number, modulo this; it shows in ``bytes`` of the event."""


class Form(Enum):
    """Forms of a stream."""

    WEBSOCKET = auto()
    SSE = auto()
    LINES = auto()


class Follower:
    """
    A subscriber that resumes: when its stream ends, it goes to the next node, and on after the event that it got last.

    Args:
        nodes: URLs of the nodes, in the order in which they are tried.
        path: Path of the stream.
        token: Text of its token.
    """

    def __init__(self, form: Form, nodes: Sequence[str], path: str, token: str) -> None:
        self.form = form
        self._nodes, self._path, self._headers = nodes, path, {"X-API-Token": token}
        self.events: list[Document] = []
        """Events in the order in which they came."""
        self.dropped: list[str] = []
        """Reasons for which events were dropped, as the stream told."""
        self.is_live = False
        """Whether its first stream has begun."""
        self.connections = 0
        self.on_event: list[Callable[[Document], None]] = []

    @property
    def ids(self) -> list[str]:
        """The ids of its events."""
        return [each["id"] for each in self.events]

    async def run(self) -> None:
        """Follow until cancelled."""
        async with aiohttp.ClientSession(headers=self._headers) as http:
            for node in cycle(self._nodes):
                with suppress(aiohttp.ClientError, ConnectionError):
                    async for line in self._lines(http, node):
                        self._take(json.loads(line))

    async def _lines(self, http: aiohttp.ClientSession, node: str) -> AsyncIterator[str]:
        """Open a stream after the last event; yield its objects."""
        url, query, headers = f"{node}{self._path}", {"extended": "1"}, dict[str, str]()
        last = self.events[-1]["id"] if self.events else None
        if self.form is Form.WEBSOCKET:
            async with http.ws_connect(url, params=query | ({"after": last} if last else {})) as stream:
                self.connections += 1
                async for message in stream:
                    self.is_live = True  # its first line is a mark
                    yield message.data
            return
        if self.form is Form.SSE:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        elif last:
            query["after"] = last
        async with http.get(url, params=query, headers=headers, timeout=aiohttp.ClientTimeout(total=None)) as reply:
            self.connections += reply.status == 200
            async for line in reply.content:
                self.is_live = True
                text = line.decode().removeprefix("data:").strip()
                if text.startswith("{"):
                    yield text

    def _take(self, found: Document) -> None:
        if found.get("event") == "eventsDropped":
            self.dropped.append(found["data"]["reason"])
        elif "event" in found:
            self.events.append(found)
            for each in self.on_event:
                each(found)


class Reporter:
    """
    A device that sends to one node, a message at a time.

    Args:
        host: Its address.
        node: Where the node receives datagrams.
    """

    def __init__(self, host: str, node: tuple[str, int], device_id: str) -> None:
        self._host, self._node, self.device_id = host, node, device_id
        self._seen = asyncio.Event()
        self.number = 1
        """Number of the message that is under way."""

    def saw(self, event: Document) -> None:
        """Note an event of this device."""
        if event["event"] == "upstreamMessage" and int(event["data"]["bytes"]) == self._length:
            self._seen.set()

    @property
    def _length(self) -> int:
        return 1 + self.number % _LENGTHS

    async def run(self) -> None:
        """Send until cancelled."""
        with socket.socket(type=socket.SOCK_DGRAM) as opened:
            opened.setblocking(False)
            opened.bind((self._host, 0))
            while True:
                self._seen.clear()
                while not self._seen.is_set():
                    opened.sendto(bytes(self._length), self._node)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_AGAIN):
                            await self._seen.wait()
                self.number += 1
                await asyncio.sleep(_PAUSE)


class Load:
    """
    Devices that send, and subscribers that must see everything.

    Args:
        reporters: The devices.
        followers: The subscribers; the first one sees for the devices, and should be where nothing is killed.
    """

    def __init__(self, reporters: Sequence[Reporter], followers: Sequence[Follower]) -> None:
        self.reporters, self.followers = reporters, followers
        by_device = {each.device_id: each for each in reporters}
        followers[0].on_event.append(lambda event: by_device[event["deviceId"]].saw(event))
        self._last: dict[str, str] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it; at the end the devices stop, and the subscribers go on until they have got everything."""
        async with asyncio.TaskGroup() as group:
            following = [group.create_task(each.run()) for each in self.followers]
            await until(lambda: all(each.is_live for each in self.followers))
            sending = [group.create_task(each.run()) for each in self.reporters]
            await self.goes_on()
            yield
            await self.goes_on()
            for task in sending:
                task.cancel()
            self._last = {each["deviceId"]: each["id"] for each in self.followers[0].events}
            last = set(self._last.values())
            await until(lambda: all(last <= {each["id"] for each in to.events[-100:]} for to in self.followers))
            for task in following:
                task.cancel()

    def faults_of(self, follower: Follower, history: Iterable[Mapping[str, Any]]) -> list[str]:
        """
        Return the reasons why a subscriber did not get each event of a history once, and those of a device in order.

        An event of a datagram that was under way when its device stopped may have come after the subscribers left.
        """
        ids, known = follower.ids, [each["id"] for each in history if each["id"] <= self._last[each["deviceId"]]]
        faults = [f"doubled: {each}" for each in ids if ids.count(each) > 1] if len(set(ids)) < len(ids) else []
        faults += [f"missing: {each}" for each in known if each >= min(ids) and each not in set(ids)]
        numbers = defaultdict[str, list[int]](list)
        for each in follower.events:
            if each["event"] == "upstreamMessage":
                numbers[each["deviceId"]].append(int(each["data"]["bytes"]))
        for device, sent in numbers.items():
            steps = ((pair, (pair[1] - pair[0]) % _LENGTHS) for pair in pairwise(sent))
            faults += [f"order of {device}: {pair}" for pair, step in steps if step > _LENGTHS // 2]
        return faults

    async def goes_on(self, *indexes: int) -> None:
        """Wait until devices, all of them or some, have sent two more messages that were seen."""
        watched = [each for index, each in enumerate(self.reporters) if not indexes or index in indexes]
        wanted = {each: each.number + 2 for each in watched}
        async with asyncio.timeout(PATIENCE):
            await until(lambda: all(each.number >= wanted[each] for each in watched))
