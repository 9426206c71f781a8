"""A CoAP listener with the blob service, and a client that uploads blobs in blocks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from span_events.config import BlobsConfig, CoapConfig
from span_events.events.message import Transport
from span_events.listeners.coap.blobs import CoapBlobs
from span_events.listeners.coap.service import MakeService
from span_events.net import Remote
from span_events.wire.coap.blocks import Block, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, uint
from tests.bench.fleets import FleetBench
from tests.listeners.coap.bench import CoapBench, coap_bench, post

BODY = b"\xff\xd8\xff photo " + bytes(range(251)) * 400
"""100,410 octets; no two blocks are equal."""
LIMIT = 200_000
ROOM = 210_000
METHOD = pytest.mark.parametrize(("method", "code"), [("post", Code.CREATED), ("put", Code.CHANGED)])


def services(fleet: FleetBench) -> Sequence[MakeService]:
    """Return the factory of the service."""

    def make(transport: Transport, _local: Remote) -> CoapBlobs:
        return CoapBlobs(
            BlobsConfig(max_size=LIMIT),
            CoapConfig(),
            transport=transport,
            blobs=fleet.blobs,
            reception=fleet.reception,
            clock=fleet.clock,
        )

    return [make]


@asynccontextmanager
async def blob_bench(folder: Path) -> AsyncIterator[CoapBench]:
    """Start a CoAP listener with small limits for blobs."""
    blobs = {"max_size": LIMIT, "uploads_per_device": 2, "octets_per_collection": ROOM}
    async with coap_bench(folder, services=services, blobs=blobs) as bench:
        yield bench


def contents(fleet: FleetBench) -> list[bytes]:
    """Return the contents of the stored blobs, oldest first."""
    return [
        fleet.blob_file(blob).read_bytes()
        for collection_id in fleet.directory.collections
        for blob in fleet.directory.blobs.of(collection_id)
    ]


def files(fleet: FleetBench) -> list[str]:
    """Return the names of all blob files, finished or not."""
    return os.listdir(fleet.folder / "blobs")


def rejection(fleet: FleetBench) -> dict[str, str]:
    """Return the data of the last event, a messageRejected."""
    name, data = fleet.drain()[-1]
    assert name == "messageRejected"
    return data


class Uploader:
    """A client that uses a new token and message id for each block."""

    def __init__(self, exchange: Callable[[bytes], Any], code: Code = Code.POST) -> None:
        self._exchange = exchange
        self._code = code
        self._numbers = count(100)

    async def send(
        self, number: int, payload: bytes = b"", *, more: bool = True, exponent: int = 6, options: Options = ()
    ) -> CoapMessage:
        """Send a block; without a payload, a full block of `BODY`."""
        block = Block(number, more, exponent)
        begin = number * block.size
        found: CoapMessage = await self._exchange(
            self.request(block, payload or BODY[begin : begin + block.size], options)
        )
        return found

    def request(self, block: Block, payload: bytes, options: Options = ()) -> bytes:
        """Write the next request."""
        number = next(self._numbers)
        return post(
            payload,
            path="blob",
            message_id=number,
            token=uint(number),
            options=((Option.BLOCK1, write_block(block)), *options),
            code=self._code,
        )
