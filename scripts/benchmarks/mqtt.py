"""
MQTT: fan-out beside our WebSocket and beside mosquitto, and the memory of an idle subscriber.

Beside mosquitto, the publisher is another process for both: messages of a device come to us as UDP datagrams, and pass
identification, inbox and history; to mosquitto they come as PUBLISH packets of the size that ours have. It sends the
next window when one subscriber has received the last.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Final

from scripts.benchmarks.harness import Options, Process, Table, allow_sockets, drain, process, server, subscribe
from tests.web.mqtt.client import connect_packet, packet, text
from tests.wire.test_client_frames import frame

SIZES: Final = (100, 1_000)
TICKS: Final = (1, 16)
IDLE: Final = 2_000
WINDOW: Final = 256
PAYLOAD: Final = b"x" * 16
Open = Callable[[str, str, str], socket.socket]


def join(address: str, user: str, password: str, topic: str) -> socket.socket:
    """Open an MQTT connection and subscribe."""
    host, _, port = address.rpartition(":")
    opened = socket.create_connection((host, int(port)))
    name = f"c{opened.fileno()}-{time.monotonic_ns()}"
    opened.sendall(connect_packet(user, password, level=4, client_id=name) + _subscription(topic))
    expect(opened, b"\x20\2\0\0\x90\3\0\7\0")
    return opened


def expect(opened: socket.socket, octets: bytes) -> None:
    """Read exactly these octets."""
    seen = opened.recv(len(octets), socket.MSG_WAITALL)
    if seen != octets:
        raise RuntimeError(f"refused: {seen.hex()}")


def _subscription(topic: str) -> bytes:
    return packet(0x82, b"\0\7" + text(topic) + b"\0")


def _collection(path: str) -> str:
    return path.split("/")[3]


def over_websocket(address: str, path: str, token: str) -> socket.socket:
    """Open MQTT over WebSocket and subscribe to events."""
    opened = subscribe(address, "/mqtt", {"Sec-WebSocket-Protocol": "mqtt"})
    name = f"c{opened.fileno()}-{time.monotonic_ns()}"
    for octets, answer in (
        (connect_packet(_collection(path), token, level=4, client_id=name), b"\x82\4\x20\2\0\0"),
        (_subscription("activity/#"), b"\x82\5\x90\3\0\7\0"),
    ):
        opened.sendall(frame(0x82, octets))
        expect(opened, answer)
    return opened


def _stream(address: str, path: str, token: str) -> socket.socket:
    return subscribe(address, f"{path}?extended=1", {"X-API-Token": token})


FORMS: Final = MappingProxyType(
    {
        "WebSocket, extended=1": ("http", _stream),
        "MQTT": ("mqtt", lambda address, path, token: join(address, _collection(path), token, "activity/#")),
        "MQTT over WebSocket": ("http", over_websocket),
    }
)
"""The listener and the function that opens a stream at its address; the events have the same fields in all."""


async def run(options: Options) -> None:
    """Measure all, interleaved, and print the tables."""
    allow_sockets()
    cases = list(product(SIZES, TICKS))
    fanout = {
        (size, batch): Table(f"Fan-out to {size} subscribers, {batch} events a tick", "events per CPU second")
        for size, batch in cases
    }
    outside = {size: Table(f"Publisher outside, {size} subscribers", "messages per CPU second") for size in SIZES}
    idle = Table(f"Idle subscriber, {IDLE} of them", "octets of resident memory each")
    for _ in range(options.rounds):
        for size, batch in cases:
            for name, (listener, opened_by) in FORMS.items():
                fanout[size, batch].add(name, await _fanout(options, listener, opened_by, size, batch))
        for name, (listener, opened_by) in FORMS.items():
            idle.add(name, await _idle(options, listener, opened_by))
        if shutil.which("mosquitto"):
            for size in SIZES:
                outside[size].add("mosquitto", await _mosquitto(options, size))
                outside[size].add("span-events", await _ours(options, size))
    for table in fanout.values():
        table.show(base="WebSocket, extended=1")
    idle.show()
    if shutil.which("mosquitto"):
        for table in outside.values():
            table.show(base="mosquitto")


async def _fanout(options: Options, listener: str, opened_by: Open, size: int, batch: int) -> float:
    arguments = ("--batch", str(batch), "--linger", "0", "--seconds", str(options.seconds))
    async with server("span", *arguments, uvloop=options.uvloop) as started:
        where = await started.answer()
        open_one = partial(opened_by, where["addresses"][listener], where["path"], where["token"])
        with await asyncio.to_thread(_opened, open_one, size) as sockets:
            started.tell("go")
            draining = asyncio.create_task(asyncio.to_thread(drain, sockets, options.seconds * 1.25 + 0.5))
            result = await started.answer()
            await draining
        return float(result["done"] / result["cpu"])


async def _idle(options: Options, listener: str, opened_by: Open) -> float:
    async with server("quiet", uvloop=options.uvloop) as started:
        where = await started.answer()
        open_one = partial(opened_by, where["addresses"][listener], where["path"], where["token"])
        with await asyncio.to_thread(_opened, open_one, 50):
            before = started.rss_kb()
            with await asyncio.to_thread(_opened, open_one, IDLE):
                await asyncio.sleep(1.5)  # a sweep has passed
                return (started.rss_kb() - before) * 1024 / IDLE


async def _ours(options: Options, size: int) -> float:
    async with server("quiet", uvloop=options.uvloop) as started:
        where = await started.answer()
        open_one = partial(join, where["addresses"]["mqtt"], _collection(where["path"]), where["token"], "#")
        host, _, port = where["addresses"]["datagrams"].rpartition(":")
        with (
            await asyncio.to_thread(_opened, open_one, size) as sockets,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device,
        ):
            device.bind(("127.0.0.1", 0))
            device.connect((host, int(port)))

            def publish() -> None:
                for number in range(WINDOW):
                    device.send(PAYLOAD)
                    if number % 32 == 31:
                        time.sleep(0.0002)  # the receive buffer of the socket is bounded

            return await _deliveries(options, started, sockets, publish)


async def _mosquitto(options: Options, size: int) -> float:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nlog_dest none\n")
        async with process([str(shutil.which("mosquitto")), "-c", str(settings)], core=0) as started:
            address = f"127.0.0.1:{port}"
            await _listens(address)
            open_one = partial(join, address, "user", "password", "#")
            with (
                await asyncio.to_thread(_opened, open_one, size) as sockets,
                join(address, "user", "password", "none") as publisher,
            ):
                message = packet(0x30, text("17dh0cf43jfgl8/17dh0cf43jfglc") + b"{" + b" " * 620 + b"}")
                return await _deliveries(options, started, sockets, lambda: publisher.sendall(message * WINDOW))


async def _listens(address: str) -> None:
    host, _, port = address.rpartition(":")
    while True:
        with suppress(OSError), socket.create_connection((host, int(port))):
            return
        await asyncio.sleep(0.02)


async def _deliveries(
    options: Options, started: Process, sockets: list[socket.socket], publish: Callable[[], None]
) -> float:
    """Return the messages delivered for each CPU second of a server: those to one subscriber, times all."""

    def work() -> float:
        seen = _Counted(sockets)
        publish()
        seen.drain(WINDOW)  # the first window is a warm-up
        done, cpu, until = 0, started.cpu(), time.monotonic() + options.seconds * 2
        while time.monotonic() < until:
            publish()
            done += seen.drain(WINDOW)
        return done * len(sockets) / (started.cpu() - cpu)

    return await asyncio.to_thread(work)


class _Counted:
    """The subscribers: all are drained, and the packets of the last one are counted."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._rest = b""
        for each in sockets:
            each.setblocking(False)

    def drain(self, wanted: int) -> int:
        """Read until so many packets have come, or no more come; return how many did."""
        found, last = 0, time.monotonic()
        while found < wanted and time.monotonic() - last < 0.5:
            time.sleep(0.0005)
            octets = b""
            for each in self._sockets:
                octets = b""
                with suppress(BlockingIOError):
                    while part := each.recv(1 << 20):
                        octets += part
            if octets:
                found += self._count(octets)
                last = time.monotonic()
        return found

    def _count(self, octets: bytes) -> int:
        octets, at, found = self._rest + octets, 0, 0
        while at + 3 < len(octets):
            low, high = octets[at + 1], octets[at + 2]
            end = at + (2 + low if low < 128 else 3 + (low & 127) + high * 128)
            if end > len(octets):
                break
            at, found = end, found + 1
        self._rest = octets[at:]
        return found


@contextmanager
def _sockets(opened: list[socket.socket]) -> Iterator[list[socket.socket]]:
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


def _opened(open_one: Callable[[], socket.socket], count: int) -> AbstractContextManager[list[socket.socket]]:
    return _sockets([open_one() for _ in range(count)])
