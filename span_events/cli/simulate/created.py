"""Resources that `simulate` creates through the API, and deletes again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from span_events.cli.resources.common import collection_path, device_path
from span_events.cli.simulate import progress
from span_events.client.api import Client
from span_events.errors import Conflict, NotFound, RequestError
from span_events.simulator.terminals import Member

MARK: Final = "simulated"
"""Tag (``true``) of collections and devices that `simulate` made, and may delete again."""
_AT_ONCE: Final = 16
"""Requests to the API under way at the same time."""

T = TypeVar("T")


class CreatedResources:
    """
    A simulation's resources on the server: its devices, and their collection if it created that.

    Args:
        collection: Id of the collection; empty for that of earlier runs, or a new one.
    """

    def __init__(self, client: Client, collection: str) -> None:
        self.client = client
        self.collection = collection
        self._made_collection = False
        self.ours: list[str] = []
        """Ids of devices that this command made, now or in an earlier run."""
        self._unanswered: set[str] = set()
        """Keys of devices whose creation has an unknown outcome."""

    async def find_collection(self) -> None:
        """Take the collection that was named, that of earlier runs, or make one."""
        if not self.collection:
            await each_of(self._find_collection, [MARK])

    async def devices(self) -> list[dict[str, Any]]:
        """List the devices of the collection."""
        return (await self.client.request("GET", device_path(self.collection))).get("devices") or []

    async def create(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Create devices, one for each key."""

        async def create(key: str) -> None:
            self._unanswered.add(key)
            try:
                device = await self.client.request("POST", device_path(self.collection), documents[key])
                self.ours.append(str(device["deviceId"]))
            except RequestError:
                self._unanswered.discard(key)  # refused, so it does not exist
                raise
            self._unanswered.discard(key)

        await each_of(create, list(documents))

    async def delete(self) -> None:
        """Delete the devices, and the collection if this run created it; report what remains after a failure."""
        count, collection = len(self.ours), self._made_collection
        try:
            await each_of(self._delete, list(self.ours))
            await self.delete_others()
            if self._made_collection and not self._unanswered:
                await each_of(self._delete_collection, [self.collection])
        finally:
            remaining = len(self.ours) + len(self._unanswered)
            if remaining:
                verb = "remain" if remaining > 1 else "remains"
                progress.note(f"{progress.devices(remaining)} {verb}: span-events device list -c {self.collection}")
            elif self._made_collection:
                progress.note(f"the collection remains: span-events collection delete {self.collection}")
            elif count or collection:
                progress.note(f"deleted {progress.devices(count)}{' and the collection' if collection else ''}")

    async def delete_others(self) -> None:
        """Delete further resources of the collection after its devices."""

    async def _find_collection(self, mark: str) -> None:
        """Take the collection of earlier runs, or make one."""
        for each in (await self.client.request("GET", collection_path())).get("collections") or ():
            if is_marked(each):
                self.collection = str(each["collectionId"])
                return
        made = await self.client.request("POST", collection_path(), {"tags": {"name": "simulator", mark: "true"}})
        self.collection, self._made_collection = str(made["collectionId"]), True

    async def _delete(self, device: str) -> None:
        with suppress(NotFound):  # deleted meanwhile by another client
            await self.client.request("DELETE", device_path(self.collection, device))
        self.ours.remove(device)

    async def _delete_collection(self, collection: str) -> None:
        await self.client.request("DELETE", collection_path(collection))
        self._made_collection = False


class Simulated(CreatedResources):
    """
    The devices of `simulate`.

    Args:
        collection: Id of the collection; empty for that of earlier runs, or a new one.
        by_sim: A mobile core gives the devices their addresses, so the server is to know their SIMs and hardware;
            otherwise it is to know their addresses.
    """

    def __init__(self, client: Client, collection: str, *, by_sim: bool) -> None:
        super().__init__(client, collection)
        self._by_sim = by_sim

    async def make(self, members: Sequence[Member]) -> None:
        """See to it that the server knows each device."""
        await self.find_collection()
        missing = {self._identity(each): each for each in members}
        for device in await self.devices():
            if missing.pop(self._identity_in(device), None) is not None and is_marked(device):
                self.ours.append(str(device["deviceId"]))
        try:
            await self.create({each.address: self._document(each) for each in missing.values()})
        except Conflict as exc:
            exc.detail = exc.detail.removeprefix(f"{exc.field}: ")
            exc.args = (exc.detail,)
            exc.hint = "Another collection has it: name that collection with -c, or change --base-address."
            raise

    def _identity(self, member: Member) -> str:
        return member.modem.imsi if self._by_sim else member.address

    def _identity_in(self, device: Mapping[str, Any]) -> str:
        block, key = ("config", "imsi") if self._by_sim else ("metadata", "allocatedIp")
        return ((device.get(block) or {}).get("ciot") or {}).get(key) or ""

    def _document(self, member: Member) -> dict[str, Any]:
        tags = tags_of(".".join(member.address.split(".")[2:]))
        if self._by_sim:
            return {"tags": tags, "config": {"ciot": {"imsi": member.modem.imsi, "imei": member.modem.imei}}}
        return {"tags": tags, "metadata": {"ciot": {"allocatedIp": member.address}}}


def tags_of(name: str) -> dict[str, str]:
    """Make the tags of a device or gateway that `simulate` makes."""
    return {"name": f"simulated-{name}", MARK: "true"}


def is_marked(document: Mapping[str, Any]) -> bool:
    """Return whether `simulate` created a resource."""
    return (document.get("tags") or {}).get(MARK) == "true"


async def each_of(request: Callable[[T], Awaitable[None]], items: Sequence[T]) -> None:
    """
    Send a request for each item, some at a time.

    After the first failure or a cancellation, no further requests start, but those under way are awaited: only their
    replies show which resources to delete. A second cancellation ends the wait.
    """
    waiting = deque(items)

    async def work() -> None:
        while waiting:
            await request(waiting.popleft())

    workers = [asyncio.create_task(work()) for _ in range(min(_AT_ONCE, len(items)))]
    for worker in workers:
        worker.add_done_callback(_look_at)
    if not workers:
        return
    try:
        await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        waiting.clear()
        await asyncio.wait(workers)
    for worker in workers:
        worker.result()


def _look_at(worker: asyncio.Task[None]) -> None:
    """Mark a failure as retrieved, so that asyncio does not report it when another one was raised already."""
    if not worker.cancelled():
        worker.exception()
