"""Nodes that share a registry in PostgreSQL, each with a fleet that follows the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from span_events.errors import StorageUnavailable
from span_events.registry.model import Certificate, Device, Downstream
from span_events.registry.store import Store
from tests.bench.authorities import open_authority
from tests.bench.clock import ManualClock
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.waiting import PATIENCE, until

Nodes = tuple[FleetBench, FleetBench]


@asynccontextmanager
async def fleet_node(url: str, folder: Path, **settings: Any) -> AsyncIterator[FleetBench]:
    """Open the fleet of a node."""
    await asyncio.to_thread(folder.mkdir)
    store, clock = Store(url, shared=True), ManualClock()
    await store.open()
    number = await store.number.lease()
    authority = await open_authority(folder / "pki", clock)
    fleet = FleetBench(store, authority, clock, folder, node=number, **settings)
    await fleet.fill(await store.load())

    async def follow() -> None:
        while True:
            with suppress(StorageUnavailable):
                await fleet.registry.follow()
            await asyncio.sleep(0.01)

    following = asyncio.create_task(follow())
    try:
        yield fleet
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        with suppress(StorageUnavailable):
            await fleet.close()
        await store.close()


@asynccontextmanager
async def unknown_until_asked(fleet: FleetBench, *hidden: Device | Certificate) -> AsyncIterator[None]:
    """Hide things from a node until it asks the registry, as another node has just made them; it asks once."""
    directory, asked = fleet.directory, 0

    async def question() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        for each in hidden if asked == 1 else ():
            if isinstance(each, Device):
                directory.add(each)
                for create in fleet.replica.on_device_created:
                    create(each, CAUSE)
            else:
                directory.put_certificate(each)

    for each in hidden:
        if isinstance(each, Device):
            directory.remove(each)
            for remove in fleet.replica.on_device_removed:
                remove(each, CAUSE)
        else:
            directory.remove_certificate(each)
    fleet.registry.questions.patience = PATIENCE
    task = asyncio.create_task(fleet.registry.questions.run(question))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert asked == 1


async def known(two: FleetBench, device: Device) -> Device:
    """Wait until a node shows a device; return its object there."""
    await until(lambda: device.id in two.directory.devices)
    return two.directory.devices[device.id]


async def queued(nodes: Nodes, *payloads: bytes) -> tuple[list[Downstream], list[Downstream]]:
    """Post messages for a device at the first node; return them as each node shows them, oldest first."""
    one, two = nodes
    device = await one.device()
    await known(two, device)
    for each in payloads:
        await one.outbox.queue(device, each, cause=CAUSE)
    await until(lambda: two.outbox.waiting == len(payloads))
    ours, theirs = (each.outbox.list(device, limit=len(payloads))[::-1] for each in nodes)
    return ours, theirs


class SlowClaims:
    """Claims that PostgreSQL answers when a test wants it, as one of several nodes asks before it sends a message."""

    def __init__(self, fleet: FleetBench) -> None:
        self._claims = fleet.outbox.claims
        self._may_answer = asyncio.Event()

    async def claim(self, ids: Sequence[int], begins: Callable[[], None]) -> set[int]:
        """Claim messages, in the place of the registry."""
        begins()
        await self._may_answer.wait()
        return set(ids)

    async def asked(self, message: Downstream) -> None:
        """Wait until a message is asked for."""
        await until(lambda: not self._claims.is_free(message.id))

    async def answer(self, message: Downstream) -> None:
        """Answer all claims, and wait until the node has the answer for a message."""
        self._may_answer.set()
        await until(lambda: self._claims.is_free(message.id))


@contextmanager
def slow_claims(fleet: FleetBench) -> Iterator[SlowClaims]:
    """Have a fleet claim its messages."""
    claims = SlowClaims(fleet)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fleet.outbox.claims, "are_needed", True)
        patched.setattr(fleet.store, "claim_downstream", claims.claim)
        yield claims
