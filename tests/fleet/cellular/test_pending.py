"""How changes of attachments reach the registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from span_events.errors import StorageUnavailable
from span_events.fleet.cellular.pending import PendingWrites
from span_events.registry.model import Attachment, Reservation
from span_events.registry.store import Store
from tests.bench.clock import settle


class SlowStore(Store):
    """A real store whose transactions wait until they may begin, and fail when they are told to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.fails = False
        self.asked = 0

    async def change_cellular(
        self, attachments: Mapping[int, Attachment | None], reservations: Mapping[str, Reservation | None]
    ) -> None:
        """Wait, then fail or write."""
        self.asked += 1
        await self.may_write.wait()
        if self.fails:
            raise StorageUnavailable("the disk is full")
        await super().change_cellular(attachments, reservations)

    async def kept(self) -> list[int]:
        """Return which attachments are there."""
        return [each.id for each in (await self.load()).attachments]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SlowStore]:
    opened = SlowStore(f"sqlite+aiosqlite:///{tmp_path / 'registry.sqlite'}")
    await opened.open()
    yield opened
    await opened.close()


def attachment(number: int) -> Attachment:
    return Attachment(number, "pgw1", "192.0.2.10", f"s{number}", None, 0)


async def test_what_changed_is_there_after_a_commit(store: SlowStore) -> None:
    """What ended is not."""
    pending = PendingWrites(store, limit=10_000)
    for number in (1, 2, 3):
        pending.changed(attachment(number))
    pending.ended(attachment(2))
    await pending.commit()
    first = await store.kept()
    pending.ended(attachment(3))
    await pending.commit()

    assert first == [1, 3]
    assert await store.kept() == [1]


async def test_nothing_to_write_costs_nothing(store: SlowStore) -> None:
    """Most requests tell nothing new."""
    pending = PendingWrites(store, limit=10_000)
    pending.changed(attachment(1))
    for _ in range(3):
        await pending.commit()

    assert store.asked == pending.commits == 1


async def test_a_thousand_who_wait_share_a_transaction(store: SlowStore) -> None:
    """What changes while one is written goes with the next."""
    pending = PendingWrites(store, limit=10_000)
    store.may_write.clear()
    pending.changed(attachment(1))
    waiting = [asyncio.ensure_future(pending.commit())]
    await settle()
    for number in range(2, 1002):
        pending.changed(attachment(number))
        waiting.append(asyncio.ensure_future(pending.commit()))
    await settle()
    early = [each.done() for each in waiting]
    store.may_write.set()
    await asyncio.gather(*waiting)

    assert not any(early)
    assert len(await store.kept()) == 1001
    assert pending.commits == 2


async def test_whoever_has_changed_nothing_waits_for_what_changed_before(store: SlowStore) -> None:
    """A request that comes again is answered when the first one is written, not before."""
    pending = PendingWrites(store, limit=10_000)
    store.may_write.clear()
    pending.changed(attachment(1))
    first = asyncio.ensure_future(pending.commit())
    await settle()
    again = asyncio.ensure_future(pending.commit())
    await settle()
    early = again.done()
    store.may_write.set()
    await asyncio.gather(first, again)

    assert not early


async def test_all_who_wait_hear_of_a_failure_and_nothing_is_lost(store: SlowStore) -> None:
    """The next commit writes it."""
    pending = PendingWrites(store, limit=10_000)
    store.fails = True
    pending.changed(attachment(1))
    pending.changed(attachment(2))
    results = await asyncio.gather(*(pending.commit() for _ in range(3)), return_exceptions=True)
    pending.ended(attachment(2))
    store.fails = False
    await pending.commit()

    assert [str(each) for each in results] == ["the disk is full"] * 3
    assert await store.kept() == [1]
    assert len(pending) == 0


async def test_an_end_that_could_not_be_written_is_not_forgotten(store: SlowStore) -> None:
    """Else the attachment would be back after a restart."""
    pending = PendingWrites(store, limit=10_000)
    pending.changed(attachment(1))
    await pending.commit()
    store.fails = True
    pending.ended(attachment(1))
    with pytest.raises(StorageUnavailable):
        await pending.commit()
    store.fails = False
    await pending.commit()

    assert await store.kept() == []


async def test_a_ledger_that_is_full_says_so(store: SlowStore) -> None:
    """Whatever waits counts, until it is written."""
    pending = PendingWrites(store, limit=2)
    pending.ended(attachment(1))
    before = pending.is_full
    pending.released("10.0.0.1")
    after = pending.is_full
    await pending.commit()

    assert (before, after, pending.is_full) == (False, True, False)


async def test_who_is_cancelled_loses_nothing(store: SlowStore) -> None:
    """What was on its way is written by the next."""
    pending = PendingWrites(store, limit=10_000)
    store.may_write.clear()
    pending.changed(attachment(1))
    waiting = asyncio.ensure_future(pending.commit())
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    store.may_write.set()
    await pending.commit()

    assert await store.kept() == [1]


async def test_what_was_last_said_of_an_address_counts(store: SlowStore) -> None:
    """Also when writing what came before it failed."""
    pending = PendingWrites(store, limit=10_000)
    reserved = [Reservation(f"10.0.0.{number}", 7, "", "", "apn", 1_000) for number in (1, 2)]
    for each in reserved:
        pending.reserved(each)
    store.fails = True
    with pytest.raises(StorageUnavailable):
        await pending.commit()
    store.fails = False
    pending.released("10.0.0.1")
    pending.released("10.0.0.2")
    pending.reserved(reserved[1])
    await pending.commit()

    assert (await store.load()).reservations == [reserved[1]]
