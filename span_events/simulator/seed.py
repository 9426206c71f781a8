"""What ``serve --demo`` needs to show something: a collection with devices, and a token to watch it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from span_events.auth.tokens import Tokens
from span_events.events.message import Transport
from span_events.fleet.collections import CollectionChange, Collections
from span_events.fleet.devices import DeviceChange, Devices
from span_events.ids import render
from span_events.registry.directory import Directory
from span_events.registry.model import Collection
from span_events.simulator.fleet import Member

MARK: Final = {"demo": "true"}
"""Tag of what belongs to the demo; it is found again by it."""
OWN_ADDRESS: Final = "127.0.0.1"
"""Whoever tries a client on this machine is this demo device."""
MEMBERS: Final[tuple[Member, ...]] = tuple(
    (f"127.77.0.{number}", Transport.UDP if number % 2 else Transport.COAP) for number in range(1, 7)
)
"""The simulated devices."""
_TOKEN_NAME: Final = "demo (read-only, new at each start)"  # noqa: S105  # a name, not a secret


@dataclass(frozen=True, slots=True)
class Demo:
    """What was seeded."""

    collection: Collection
    token: str
    """Text of a read-only token for the collection."""


async def seed(*, collections: Collections, devices: Devices, directory: Directory, tokens: Tokens, cause: int) -> Demo:
    """Find or make the demo's collection and devices, and make a new token to watch them."""
    collection = next(
        (each for each in directory.collections.values() if MARK.items() <= each.tags.items()), None
    ) or await collections.create(CollectionChange(tags={"name": "demo", **MARK}))
    wanted = {OWN_ADDRESS: "this-computer"} | {address: f"tracker-{address[-1]}" for address, _ in MEMBERS}
    for address, name in wanted.items():
        if directory.device_at(address) is None:
            change = DeviceChange(allocated_ip=address, tags={"name": name, **MARK})
            await devices.create(collection, change, cause=cause)
    for token in [each for each in tokens.all() if each.name == _TOKEN_NAME]:
        await tokens.delete(token.id)
    _, text = await tokens.create(resource=f"/collections/{render(collection.id)}", write=False, name=_TOKEN_NAME)
    return Demo(collection, text)
