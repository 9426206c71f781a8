"""Memory of a stream to which nothing happens."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.bench.servers import Running, running, stalled_client

FORMS: Final = {
    "websocket": "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "sse": "Accept: text/event-stream\r\n",
    "lines": "",
}
STREAMS: Final = 100
MOST: Final = 20_000
"""Octets of a stream; scripts/bench idle measures those that the process takes from the system."""


async def opened(site: Running, held: ExitStack, fields: str, count: int) -> None:
    """Open streams."""
    before = site.server.hub.subscribers
    for _ in range(count):
        held.enter_context(stalled_client(site, "/span/activity", fields))
    await site.joined(before + count)


@pytest.mark.parametrize("form", FORMS)
async def test_an_idle_stream_takes_at_most_20_kb(tmp_path: Path, form: str) -> None:
    async with running(tmp_path) as site:
        with ExitStack() as held:
            await opened(site, held, FORMS[form], 10)  # pays for what is made once
            gc.collect()
            tracemalloc.start()
            await opened(site, held, FORMS[form], STREAMS)
            gc.collect()
            octets = tracemalloc.get_traced_memory()[0] / STREAMS
            tracemalloc.stop()

    assert octets < MOST
