"""
Benchmark of gateways: memory, throughput against a bare grpc.aio echo, stalled readers, and 10,000 broken messages.

The raw clients are the same for both servers, and run on the other core.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from typing import Any

from google.protobuf.message import DecodeError
from h2.settings import SettingCodes
from websockets.asyncio.client import connect

from scripts.benchmarks.clients.gateways import KEEPALIVE_ANSWER, Clients
from scripts.benchmarks.harness import CLIENT_CORE, Options, Process, Table, server
from scripts.benchmarks.servers.gateways import BLOCKS, LIGHT
from span_events.config import GatewaysConfig
from span_events.proto.gateway_pb2 import (
    ConfigRequest,
    ControlStreamRequest,
    DeviceUpdate,
    GatewayMetadataUpdate,
    Keepalive,
    UpstreamMessage,
)
from tests.bench.waiting import until
from tests.listeners.gateways.bench import CONFIG_REQUEST, KEEPALIVE, RawGateway
from tests.wire.grpc.client import GrpcClient

IDLE = 1_000
WARM = 50
IDLE_SECONDS = 10.0
SLOW = 10
ROUND_TRIPS = 500
BROKEN = 10_000
VANDALS = 8
SETTINGS = GatewaysConfig()


async def run(options: Options) -> None:
    """Run the measurements one after the other."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    await idle(options)
    await throughput(options)
    await slow_readers(options)
    await broken_messages(options)


async def state_of(started: Process) -> dict[str, Any]:
    """Ask a server for its counters."""
    started.tell("")
    return await started.answer()


# ---- many that are silent ----------------------------------------------------------------------


async def idle(options: Options) -> None:
    """Connect many gateways with a device each, and measure the memory; then leave them idle, and measure the CPU."""
    memory = Table(f"{IDLE:,} idle gateways over TLS", "octets of resident memory each")
    cpu = Table(f"the same for {IDLE_SECONDS:.0f} s, each asked every {SETTINGS.keepalive_interval:.0f} s", "ms of CPU")
    for _ in range(options.rounds):
        async with server("gateways", "--count", str(IDLE + WARM), uvloop=options.uvloop) as started:
            clients = Clients(await started.answer())
            for number in range(WARM):
                await clients.configured(number)
            before = started.rss_kb()
            for number in range(WARM, WARM + IDLE):
                await clients.configured(number)
            await asyncio.sleep(1.5)  # a sweep has passed
            memory.add("span-events", (started.rss_kb() - before) * 1024 / IDLE)
            began = (await state_of(started))["cpu"]
            await asyncio.sleep(IDLE_SECONDS)
            after = await state_of(started)
            cpu.add("span-events", (after["cpu"] - began) * 1e3)
            if after["online"] != IDLE + WARM:
                raise RuntimeError(f"only {after['online']} gateways are still there")
            clients.close()
    memory.show()
    cpu.show()


# ---- messages on one stream --------------------------------------------------------------------


async def throughput(options: Options) -> None:
    """Send upstream messages on one stream to both servers, interleaved."""
    count = int(10_000 * options.seconds)
    tables = {
        joined: Table(f"{count:,} upstream messages on one stream, {joined} in each write", "per CPU second")
        for joined in (1, 40)
    }
    for _ in range(options.rounds):
        for name, variant in (("grpc.aio echo", "bare-grpc"), ("span-events, to events", "gateways")):
            async with server(variant, uvloop=options.uvloop) as started:
                clients = Clients(await started.answer())
                talker = await asyncio.to_thread(clients.talker, 0)
                messages = [clients.upstream(0)] * count
                await asyncio.to_thread(talker.send, messages[:2_000], joined=1)
                for joined, table in tables.items():
                    before = await state_of(started)
                    await asyncio.to_thread(talker.send, messages, joined=joined)
                    after = await state_of(started)
                    table.add(name, count / (after["cpu"] - before["cpu"]))
                    if variant == "gateways" and after["published"] - before["published"] != 2 * count:
                        raise RuntimeError(f"{after['published'] - before['published']} events of {count} messages")
                talker.close()
    for table in tables.values():
        table.show(base="grpc.aio echo")


# ---- those that do not read --------------------------------------------------------------------


async def slow_readers(options: Options) -> None:
    """Let gateways read nothing of their configuration, in few large messages or many small ones; measure memory."""
    print(f"\n{SLOW} gateways that do not read, {SETTINGS.queue_octets / 1024:,.0f} KiB of queue each")
    kinds: tuple[tuple[str, Callable[[], GrpcClient], bool], ...] = (
        ("messages are not taken, pings answered", shut, True),
        ("nothing is read, window of 2 GiB", wide_open, False),
    )
    for blocks, (kind, prepare, reads) in product(BLOCKS, kinds):
        if blocks is LIGHT and not reads:
            continue  # the kernel takes it all
        arguments = ("--count", str(SLOW + 1), "--blocks", blocks)
        async with server("gateways", *arguments, uvloop=options.uvloop) as started:
            clients = Clients(await started.answer())
            other = await clients.raw(SLOW).serve()
            alone = await round_trips(other)
            before = started.rss_kb()
            for time_word in ("", ", once more"):
                slow = [await clients.raw(number, prepare()).serve() for number in range(SLOW)]
                began = time.monotonic()
                for each in slow:
                    if not reads:
                        each.freeze()
                    await each.send(CONFIG_REQUEST)
                together = await round_trips(other)
                state = await state_of(started)
                gained = (started.rss_kb() - before) / SLOW
                if state["online"] != SLOW + 1:
                    raise RuntimeError("they were measured too late")
                while (await state_of(started))["online"] > 1:
                    await asyncio.sleep(0.05)
                took = time.monotonic() - began
                for each in slow:
                    if not reads:
                        each.thaw()
                ends = Counter([(await each.refused())[1] for each in slow])
                print(
                    f"  {blocks}; {kind}{time_word}:"
                    f"\n    {gained:+,.0f} KiB each, {state['queued'] / SLOW / 1024:,.0f} queued;"
                    f"\n    round trip of another gateway {brief(alone)} before, {brief(together)} now;"
                    f"\n    ended after {took:.1f} s: {words(ends)}"
                )
            clients.close()


def shut() -> GrpcClient:
    """Create a client with an empty window."""
    client = GrpcClient(reads=False)
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    return client


def wide_open() -> GrpcClient:
    """Create a client with windows for all messages."""
    client = GrpcClient()
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
    client.h2.increment_flow_control_window(2**31 - 1 - 65_535)
    return client


async def round_trips(client: RawGateway) -> list[float]:
    """Measure the round trips of keepalives, one after the other, in ms."""
    took = []
    for _ in range(ROUND_TRIPS):
        client.grpc.messages.clear()
        began = time.perf_counter()
        await client.send(KEEPALIVE)
        await until(lambda: bool(client.grpc.messages))
        took.append((time.perf_counter() - began) * 1e3)
    return sorted(took)


def brief(times: list[float]) -> str:
    """Format the median and the 99th percentile."""
    return f"{times[len(times) // 2]:.1f} ms (99 %: {times[int(len(times) * 0.99)]:.1f})"


def words(counter: Counter[str]) -> str:
    """Format counts, the largest first."""
    return ", ".join(f"{count:,} {word}" for word, count in counter.most_common())


# ---- broken messages ---------------------------------------------------------------------------


async def broken_messages(options: Options) -> None:
    """Send mutated and oversized messages on one stream after another; another gateway must not be affected."""
    async with server("gateways", "--count", str(VANDALS + 1), uvloop=options.uvloop) as started:
        where = await started.answer()
        clients = Clients(where)
        bystander = await clients.configured(VANDALS)
        vandals = [Vandal(clients, number) for number in range(VANDALS)]
        await attack(vandals, 500)
        before, first = started.rss_kb(), sum(each.ended for each in vandals)
        url = f"ws://{where['addresses']['http']}{where['path']}?event=gatewayDisconnected"
        async with connect(url, additional_headers={"X-API-Token": where["token"]}) as stream:
            attacking = asyncio.create_task(attack(vandals, BROKEN))
            told: list[dict[str, Any]] = []
            while not attacking.done() or len(told) < sum(each.ended for each in vandals) - first:
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        told.append(json.loads(await stream.recv()))
            await attacking
        reasons = Counter(each["data"]["reason"] for each in told)
        calm = await round_trips(bystander)
        state = await state_of(started)
        touched = sum(each["gatewayId"] == where["gateways"][VANDALS] for each in told)
        if touched or state["defects"] or bystander.grpc.status is not None:
            raise RuntimeError(f"{touched} ends of another stream, {state['defects']} defects")
        print(
            f"\n{BROKEN:,} mutated or oversized messages on {len(told):,} streams; each ended with a reason:"
            f"\n  {words(reasons)}"
            f"\n  memory {started.rss_kb() - before:+,} kB, {state['defects']} defects;"
            f" another gateway's stream lives, round trip {brief(calm)}"
        )
        clients.close()


async def attack(vandals: list[Vandal], count: int) -> None:
    """Let all clients send broken messages, a given number in total."""
    await asyncio.gather(*(each.attack(count // len(vandals)) for each in vandals))


class Vandal:
    """A gateway that sends broken messages, and opens a new stream after each lost one."""

    def __init__(self, clients: Clients, number: int) -> None:
        self._clients = clients
        self._number = number
        self._random = random.Random(number)  # the same garbage each time
        self._client: RawGateway | None = None
        self._good = self._messages(clients.upstream(number))
        self.ended = 0
        """Number of streams."""

    async def attack(self, count: int) -> None:
        """Send broken messages; end the last stream in order."""
        for _ in range(count):
            await self._send_one()
        if self._client is not None:
            await self._finish(self._client, self._client.grpc.half_close())

    async def _send_one(self) -> None:
        client = self._client = self._client or await self._clients.raw(self._number).serve()
        message = self._mutated()
        kind = self._random.randrange(10)
        if kind == 0:  # a length that promises more or less than comes, up to 4 GiB
            length = self._random.choice((len(message) + 1, len(message) // 2, SETTINGS.max_message + 1, 2**32 - 1))
            await self._finish(client, client.grpc.send(message, length=length), client.grpc.half_close)
        elif kind == 1:
            await self._finish(client, client.grpc.send(message, flag=self._random.randrange(1, 256)))
        else:
            answers = client.grpc.messages.count(KEEPALIVE_ANSWER) + 1 + is_keepalive(message)
            await client.say(client.grpc.send(message) + client.grpc.send(KEEPALIVE))
            await until(
                lambda: client.grpc.status is not None or client.grpc.messages.count(KEEPALIVE_ANSWER) >= answers
            )
            if client.grpc.status is not None:
                await self._finish(client, b"")

    async def _finish(self, client: RawGateway, octets: bytes, more: Callable[[], bytes] = bytes) -> None:
        await client.say(octets + more())
        await client.refused()
        self.ended += 1
        client.die()
        self._client = None

    def _mutated(self) -> bytes:
        generator = self._random
        octets = bytearray(generator.choice(self._good))
        for _ in range(generator.randrange(1, 6)):
            at = generator.randrange(len(octets) + 1)
            action = generator.randrange(4)
            if action == 0:
                octets[at:at] = generator.randbytes(generator.randrange(1, 5))
            elif action == 1:
                del octets[at : at + generator.randrange(1, 5)]
            elif action == 2:
                octets[at:] = b""
            elif at < len(octets):
                octets[at] = generator.randrange(256)
        return bytes(octets)

    def _messages(self, upstream: bytes) -> list[bytes]:
        device = ControlStreamRequest.FromString(upstream).upstream_message.device_id
        parts: list[dict[str, Any]] = [
            {"upstream_message": UpstreamMessage(device_id=device, payload=bytes(20_000))},
            {"config": ConfigRequest()},
            {"keepalive": Keepalive()},
            {"gateway_metadata": GatewayMetadataUpdate(metadata={"software": "1.2", "up": "4711"})},
            {"device_update": DeviceUpdate(device_id=device, config={"a": "1"}, metadata={"b": "2"})},
        ]
        return [upstream, *(ControlStreamRequest(**each).SerializeToString() for each in parts)]


def is_keepalive(octets: bytes) -> bool:
    """Return True if a broken message still requests an answer."""
    try:
        return ControlStreamRequest.FromString(octets).WhichOneof("msg") == "keepalive"
    except DecodeError:
        return False
