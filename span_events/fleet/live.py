"""
Live values of other nodes: what only the node has that serves a device or a gateway.

These are the counters since its start, the messages in its memory, and the connected gateways. A node asks all the
others for the values of a collection, and adds up the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, NamedTuple

import orjson

from span_events.bus import wire
from span_events.events.message import Message
from span_events.fleet.devices.inbox import Inbox
from span_events.fleet.others import OtherNodes
from span_events.registry.directory import Directory
from span_events.registry.model import REMEMBERED_TIMESTAMPS, Collection, Device, Gateway, Traffic

_LARGEST: Final = 900_000
"""Octets of an answer, at most; NATS takes a megabyte."""
_COUNTERS: Final = frozenset(each.name for each in fields(Traffic))


@dataclass(slots=True)
class Values:
    """Values of a collection, or of one device or gateway of it."""

    devices: Traffic = field(default_factory=Traffic)
    """Traffic of the devices together."""
    gateways: Traffic = field(default_factory=Traffic)
    """Traffic through the gateways together, without the built-in ones."""
    online: set[int] = field(default_factory=set)
    """Ids of the connected gateways."""


class Times(NamedTuple):
    """Times of the last messages of a collection, oldest first; Unix milliseconds."""

    upstream: list[int]
    downstream: list[int]


class LiveValues:
    """Answers the other nodes, and asks them; without other nodes, there is nothing to add."""

    def __init__(self, others: OtherNodes, *, directory: Directory, inbox: Inbox) -> None:
        self._others = others
        self._directory = directory
        self._inbox = inbox
        others.answer("values", self._answer_values)
        others.answer("online", self._answer_online)
        others.answer("messages", self._answer_messages)
        others.answer("times", self._answer_times)

    async def values(self, collection: Collection, *, of: int | None = None) -> Values:
        """
        Return the values that other nodes have.

        Args:
            of: Id of a device or gateway; None is all of them, and every node counts all devices of the collection.
        """
        total = Values()
        for answer in await self._others.ask("values", {"collection": collection.id, "of": of}):
            found = orjson.loads(answer)
            total.devices.add(_read(found["devices"]))
            total.gateways.add(_read(found["gateways"]))
            total.online.update(found["online"])
        return total

    async def online(self, collection: Collection) -> set[int]:
        """Return the ids of the gateways that are connected to other nodes."""
        answers = await self._others.ask("online", collection.id)
        return {each for answer in answers for each in orjson.loads(answer)}

    async def times(self, collection: Collection) -> Times:
        """Return the times of the last messages at all nodes, as many as one node remembers."""
        found = _times_of(collection)
        for answer in await self._others.ask("times", collection.id):
            more = Times(*orjson.loads(answer))
            found = Times(
                *(sorted(ours + theirs)[-REMEMBERED_TIMESTAMPS:] for ours, theirs in zip(found, more, strict=True))
            )
        return found

    async def messages(
        self,
        collection: Collection,
        *,
        device_id: int | None,
        limit: int,
        before_id: int | None,
        start_ms: int | None,
        end_ms: int | None,
    ) -> list[Message]:
        """Return the messages of all nodes, newest first; arguments as in `Inbox.list`."""
        wanted = {"device_id": device_id, "before_id": before_id, "start_ms": start_ms, "end_ms": end_ms}
        found = self._inbox.list(collection.id, limit=limit, **wanted)
        question = {"collection": collection.id, "limit": limit, "wanted": wanted}
        for answer in await self._others.ask("messages", question):
            found += wire.Reader().messages(answer.splitlines())
            found = sorted(found, key=lambda each: each.id, reverse=True)[:limit]
        return found

    # ---- for other nodes ----------------------------------------------------------------------

    def _answer_messages(self, question: Any) -> bytes:
        return _lines(self._inbox.list(question["collection"], limit=question["limit"], **question["wanted"]))

    def _answer_online(self, collection_id: int) -> bytes:
        return orjson.dumps([each.id for each in self._gateways(collection_id, None) if each.is_online])

    def _answer_times(self, collection_id: int) -> bytes:
        collection = self._directory.collections.get(collection_id)
        return orjson.dumps([[], []] if collection is None else [*_times_of(collection)])

    def _answer_values(self, question: Any) -> bytes:
        values = Values()
        for device in self._devices(question["collection"], question["of"]):
            values.devices.add(device.traffic)
        for gateway in self._gateways(question["collection"], question["of"]):
            values.gateways.add(gateway.traffic)
            values.online |= {gateway.id} if gateway.is_online else set()
        return orjson.dumps(_written(values))

    def _devices(self, collection_id: int, of: int | None) -> Iterable[Device]:
        """Return the devices of a collection, or one; none if this node does not see them yet or any longer."""
        directory = self._directory
        if of is not None:
            return [directory.devices[of]] if of in directory.devices else []
        return directory.devices_of(collection_id) if collection_id in directory.collections else []

    def _gateways(self, collection_id: int, of: int | None) -> Iterable[Gateway]:
        """Return the gateways as `_devices` does, without the built-in ones."""
        directory = self._directory
        if of is not None:
            return [directory.gateways[of]] if of in directory.gateways else []
        found = directory.gateways_of(collection_id) if collection_id in directory.collections else []
        return [each for each in found if not each.built_in]


def _times_of(collection: Collection) -> Times:
    return Times(list(collection.upstream_ms), list(collection.downstream_ms))


def _written(values: Values) -> dict[str, Any]:
    return {"devices": asdict(values.devices), "gateways": asdict(values.gateways), "online": sorted(values.online)}


def _read(counters: Mapping[str, int]) -> Traffic:
    """Read the counters that this release knows: a newer node may have more of them."""
    return Traffic(**{name: count for name, count in counters.items() if name in _COUNTERS})


def _lines(messages: Sequence[Message]) -> bytes:
    """Write messages, newest first, as many as an answer holds."""
    found, octets = [], 0
    for message in messages:
        line = wire.encode_message(message)
        octets += len(line) + 1
        if octets > _LARGEST:
            break
        found.append(line)
    return b"\n".join(found)
