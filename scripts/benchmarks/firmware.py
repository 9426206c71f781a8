"""Firmware: a fleet downloads an image at once, block by block; is each served, at what cost, and in what memory?"""

from __future__ import annotations

import asyncio
import hashlib
import os
import selectors
import socket
import statistics
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from scripts.benchmarks.coap import PATH_X_AND_PAYLOAD
from scripts.benchmarks.harness import CLIENT_CORE, Options, Process, Table, server
from span_events.wire.coap.blocks import Block, block_of, write_block
from span_events.wire.coap.messages import Code, Option, decode, name_of_code

DEVICES: Final = 200
FEW: Final = 20
IMAGE: Final = 1 << 20
BLOCK: Final = 512
_EXPONENT: Final = 5
_PATIENCE: Final = 2.0
"""Seconds without any reply until what is under way is sent again (RFC 7252 §4.8)."""

POSTS, BLOCKS = "CoAP POST, CON", f"blocks of {BLOCK} octets"


async def run(options: Options) -> None:
    """Measure blocks and posts of the same devices on the same server, in turn; then memory with few and many."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    requests = int(20_000 * options.seconds)
    table = Table(
        f"firmware, {DEVICES} devices download {IMAGE >> 20} MiB at once; {requests} posts of the same devices",
        "per CPU second of the server",
    )
    memory = Table("memory while they download", "kB more than before")
    spreads: list[str] = []
    for _ in range(options.rounds):
        async with server("firmware", uvloop=options.uvloop) as started:
            where = await started.answer()
            fleet = Fleet(where["addresses"]["coap"], where["sha256"])
            await asyncio.to_thread(fleet.post, 5 * DEVICES)
            await asyncio.to_thread(fleet.download, 1)
            for count in (FEW, DEVICES):
                before, rss = await _answer(started), started.rss_kb()
                task = asyncio.create_task(asyncio.to_thread(fleet.download, count))
                grown = await _peak(started, task) - rss
                memory.add(f"{count} downloads", grown)
                ends, after = await task, await _answer(started)
            table.add(BLOCKS, (after["blocks"] - before["blocks"]) / (after["cpu"] - before["cpu"]))
            spreads.append(f"{ends[0]:.2f} s, {statistics.median(ends):.2f} s, {ends[-1]:.2f} s")
            before = await _answer(started)
            await asyncio.to_thread(fleet.post, requests)
            after = await _answer(started)
            table.add(POSTS, requests / (after["cpu"] - before["cpu"]))
            fleet.close()
    table.show(base=POSTS)
    memory.show()
    print(f"\nfirst, median and last of {DEVICES} devices done: {'; '.join(spreads)}")


async def _answer(started: Process) -> dict[str, Any]:
    started.tell("")
    return await started.answer()


async def _peak(started: Process, task: asyncio.Task[Any]) -> int:
    """Watch memory until a task is done."""
    most = started.rss_kb()
    while not (await asyncio.wait((task,), timeout=0.1))[0]:
        most = max(most, started.rss_kb())
    return max(most, started.rss_kb())


@dataclass
class Device:
    """One client: a socket at an address of its own, one request under way."""

    socket: socket.socket
    sent: bytes = b""
    number: int = 0
    """Of requests, or of the block under way."""
    digest: Any = field(default_factory=hashlib.sha256)

    def send(self, datagram: bytes) -> None:
        """Send a request, and keep it in case it is lost."""
        self.sent = datagram
        self.socket.send(datagram)


Step = Callable[[Device, bytes], bool]
"""Takes a reply and sends the next request; whether the device is done."""


class Fleet:
    """
    The clients.

    Args:
        address: Where CoAP is served.
        sha256: Of the image that each must get.
    """

    def __init__(self, address: str, sha256: str) -> None:
        host, _, port = address.rpartition(":")
        self._sha256 = sha256
        self._devices = []
        for number in range(DEVICES):
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.bind((address_of(number), 0))
            opened.connect((host, int(port)))
            opened.setblocking(False)
            self._devices.append(Device(opened))
        self._message_id = 0

    def close(self) -> None:
        """Release the sockets."""
        for each in self._devices:
            each.socket.close()

    def download(self, count: int) -> list[float]:
        """Let so many devices fetch the image; return after how many seconds each was done, in order."""
        devices = self._devices[:count]
        began, ends = time.perf_counter(), []

        def step(device: Device, reply: bytes) -> bool:
            message = decode(reply)
            block = block_of(message, Option.BLOCK2)
            if message.code != Code.CONTENT or block is None or block.number != device.number:
                raise RuntimeError(f"answered with {name_of_code(message.code)}, {block}, not with {device.number}")
            device.digest.update(message.payload)
            if block.more:
                device.number += 1
                device.send(self._get(device.number))
                return False
            if device.digest.hexdigest() != self._sha256:
                raise RuntimeError("what came is not the image")
            ends.append(time.perf_counter() - began)
            return True

        for each in devices:
            each.number, each.digest = 0, hashlib.sha256()
            each.send(self._get(0))
        _converse(devices, step)
        return ends

    def post(self, requests: int) -> None:
        """Let all devices post, in all so often."""
        share = requests // DEVICES

        def step(device: Device, reply: bytes) -> bool:
            if reply[1] != Code.CREATED:
                raise RuntimeError(f"answered with {name_of_code(reply[1])}")
            device.number += 1
            if device.number < share:
                device.send(self._head(Code.POST) + PATH_X_AND_PAYLOAD)
            return device.number >= share

        for each in self._devices:
            each.number = 0
            each.send(self._head(Code.POST) + PATH_X_AND_PAYLOAD)
        _converse(self._devices, step)

    def _head(self, code: int) -> bytes:
        self._message_id += 1
        return struct.pack("!BBHI", 0x44, code, self._message_id & 0xFFFF, self._message_id)

    def _get(self, number: int) -> bytes:
        """Write GET /fw with Block2."""
        block = write_block(Block(number, more=False, exponent=_EXPONENT))
        return self._head(Code.GET) + b"\xb2fw" + bytes((0xC0 | len(block),)) + block


def address_of(number: int) -> str:
    """Return the address of a device."""
    return f"127.66.{number >> 8}.{(number & 0xFF)}"


def _converse(devices: Sequence[Device], step: Step) -> None:
    """Give each device its replies until all are done."""
    left = len(devices)
    with selectors.DefaultSelector() as selector:
        for each in devices:
            selector.register(each.socket, selectors.EVENT_READ, each)
        while left:
            ready = selector.select(_PATIENCE)
            for key, _ in ready:
                device = key.data
                reply = device.socket.recv(2048)
                if reply[2:8] != device.sent[2:8]:  # to a request that was sent twice
                    continue
                if step(device, reply):
                    selector.unregister(device.socket)
                    left -= 1
            if not ready:
                for key in selector.get_map().values():
                    key.data.socket.send(key.data.sent)
