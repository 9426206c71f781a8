"""
The frame of a server under test: its configuration, its lines to the benchmark, its measuring loop.

A server prints a line of JSON when it listens, waits for a line on its standard input, measures, and prints a line
of JSON with its results and its CPU seconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from span_events.app import Server
from span_events.config import Config
from span_events.ids import render
from tests.bench.ports import FREE

HIGH = 65_536
"""Octets that may be buffered for a subscriber before the publisher pauses (closed loop)."""


def say(**what: Any) -> None:
    """Print a line of JSON for the benchmark."""
    print(json.dumps(what), flush=True)


async def told() -> str:
    """Wait for a line of the benchmark on standard input."""
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def measured(work: Callable[[], Awaitable[int]], seconds: float) -> None:
    """Repeat work for some time, after a warm-up; print its count, CPU seconds and duration."""
    gc.collect()
    gc.freeze()
    for limit, shown in ((seconds / 4, False), (seconds, True)):
        done, cpu, began = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - began < limit:
            done += await work()
        if shown:
            say(done=done, cpu=time.process_time() - cpu, wall=time.perf_counter() - began)


def tune(transport: asyncio.BaseTransport) -> None:
    """Set the send buffer of this project's server, so that readers lag equally far on all servers."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, Config().fanout.send_buffer)


class Buffered(Protocol):
    """A transport, or a stream inside of one."""

    def get_write_buffer_size(self) -> int:
        """Return the octets that wait."""


async def all_low(transports: Sequence[Buffered]) -> None:
    """Wait until the buffers of all subscribers are below a quarter of the limit."""
    while any(each.get_write_buffer_size() > HIGH // 4 for each in transports):
        await asyncio.sleep(0.0005)


def config_for(**settings: dict[str, Any]) -> Config:
    """Return a configuration with every port free and no limit of rates and of streams."""
    fast = {
        "messages": {"rate": 1e9, "burst": 1_000_000_000},
        "streams": {"per_token": 1_000_000, "per_address": 1_000_000},
    }
    return Config(**{**FREE, **fast, **settings})  # type: ignore[arg-type]  # tables, as from a file


def ready(server: Server, collection_id: int, **more: Any) -> None:
    """Print the addresses of the server, after a garbage collection and freeze as in `serve`."""
    gc.collect()
    gc.freeze()
    say(
        addresses=server.addresses,
        token=server.first_token,
        path=f"/span/collections/{render(collection_id)}/activity",
        **more,
    )
