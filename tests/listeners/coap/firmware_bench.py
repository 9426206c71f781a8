"""A CoAP listener with the firmware service, and the requests of its devices."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from span_events.config import FirmwareConfig
from span_events.fleet.collections import CollectionChange
from span_events.listeners.coap.firmware import CoapFirmware
from span_events.listeners.coap.service import MakeService
from span_events.registry.model import Device, Image, Management
from span_events.wire.coap.blocks import Block, block_of, write_block
from span_events.wire.coap.messages import CoapMessage, Option, Options
from span_events.wire.fota import Report, encode_report
from tests.bench.fleets import CAUSE, FleetBench
from tests.listeners.coap.bench import CoapBench, Services, coap_bench, get, post

IMAGE: Final = random.Random(5).randbytes(5_000)
REPORT: Final = encode_report(Report("1.0", "model 01", "0001", "Lab5e Demo Corp"))


def firmware_services(**settings: Any) -> Services:
    """Return the factory of the service; keywords are settings of the table [firmware]."""

    def make(fleet: FleetBench) -> list[MakeService]:
        config = FirmwareConfig(**settings)
        return [partial(CoapFirmware, config, firmware=fleet.firmware, reception=fleet.reception)]

    return make


async def give_target(fleet: FleetBench, device: Device, octets: bytes = IMAGE, version: str = "1.1") -> Image:
    """Create an image, and make it the target of the device's collection."""
    image = await fleet.image(device.collection, version, octets)
    change = CollectionChange(management=Management.COLLECTION, target_firmware_id=image.id)
    await fleet.collections.update(device.collection, change, cause=CAUSE)
    fleet.activities.clear()
    return image


@asynccontextmanager
async def firmware_bench(folder: Path, *, octets: bytes = IMAGE, **settings: Any) -> AsyncIterator[CoapBench]:
    """Start a listener with one device, which has a target image."""
    services = firmware_services(**settings.pop("firmware", {}))
    async with coap_bench(folder, services=services, **settings) as bench:
        await give_target(bench.fleet, bench.device, octets)
        yield bench


def report(payload: bytes = REPORT, **options: Any) -> bytes:
    """Write a report."""
    return post(payload, path="u", **options)


def fetch(number: int | None = None, exponent: int = 2, *, options: Options = (), **others: Any) -> bytes:
    """Write a request for a block."""
    block = () if number is None else ((int(Option.BLOCK2), write_block(Block(number, False, exponent))),)
    return get(path="fw", options=(*block, *options), **others)


async def download(coap: CoapBench, exponent: int | None, *, first: int = 0) -> tuple[bytes, list[CoapMessage]]:
    """Fetch all blocks one by one, each with its own token and message id."""
    replies: list[CoapMessage] = []
    number, octets, size = first, b"", exponent
    while True:
        wanted = None if size is None else number
        token, message_id = bytes([65 + number % 26]), 1000 + number
        replies.append(await coap.client.exchange(fetch(wanted, size or 0, token=token, message_id=message_id)))
        block = block_of(replies[-1], Option.BLOCK2)
        assert replies[-1].token == token
        assert block is not None
        assert block.number == number
        octets += replies[-1].payload
        if not block.more:
            return octets, replies
        number, size = number + 1, block.exponent
