"""Pending writes of attachments and reservations to the registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from span_events.errors import StorageUnavailable
from span_events.fleet.cellular.pending import PendingWrites
from span_events.registry.model import Attachment, Reservation
from span_events.registry.store import Store
from tests.bench.clock import settle
from tests.registry.empty import make_registry


class SlowStore(Store):
    """A real store whose transactions wait for the test, and fail on request."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.fails = False
        self.asked = 0

    async def change_cellular(
        self,
        attachments: Mapping[int, Attachment | None],
        reserved: Sequence[Reservation] = (),
        released: Sequence[Reservation] = (),
    ) -> list[Reservation]:
        """Wait, then fail or write."""
        self.asked += 1
        await self.may_write.wait()
        if self.fails:
            raise StorageUnavailable("the disk is full")
        return await super().change_cellular(attachments, reserved, released)

    async def kept(self) -> list[int]:
        """Return the ids of the stored attachments."""
        return [each.id for each in (await self.load()).attachments]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SlowStore]:
    opened = SlowStore(await make_registry(tmp_path))
    await opened.open()
    yield opened
    await opened.close()


def reservation(number: int, owner: int = 7) -> Reservation:
    return Reservation(f"10.0.0.{number}", owner, "", "", "apn", 1_000)


def attachment(number: int) -> Attachment:
    return Attachment(number, "pgw1", "192.0.2.10", f"s{number}", None, 0)


async def test_changes_are_in_the_registry_after_a_commit(store: SlowStore) -> None:
    """Ended attachments are removed."""
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


async def test_a_commit_without_changes_writes_nothing(store: SlowStore) -> None:
    """Most requests change nothing."""
    pending = PendingWrites(store, limit=10_000)
    pending.changed(attachment(1))
    for _ in range(3):
        await pending.commit()

    assert store.asked == pending.commits == 1


async def test_a_thousand_waiting_callers_share_a_transaction(store: SlowStore) -> None:
    """Changes during a write go into the next one."""
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


async def test_a_caller_without_changes_waits_for_earlier_changes(store: SlowStore) -> None:
    """A retransmitted request is answered after the first one is written."""
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


async def test_all_waiting_callers_get_a_failure_and_no_change_is_lost(store: SlowStore) -> None:
    """The next commit writes them."""
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


async def test_an_end_that_failed_to_be_written_is_written_later(store: SlowStore) -> None:
    """Otherwise the attachment would return after a restart."""
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


async def test_pending_writes_report_when_they_are_full(store: SlowStore) -> None:
    """All changes count until they are written."""
    pending = PendingWrites(store, limit=2)
    pending.ended(attachment(1))
    before = pending.is_full
    pending.released(reservation(1))
    after = pending.is_full
    await pending.commit()

    assert (before, after, pending.is_full) == (False, True, False)


async def test_changes_that_are_being_written_count_as_pending(store: SlowStore) -> None:
    """Otherwise each attempt to write to a failing registry would let in one more request."""
    pending = PendingWrites(store, limit=2)
    pending.ended(attachment(1))
    pending.released(reservation(1))
    store.may_write.clear()
    writing = asyncio.ensure_future(pending.commit())
    await settle()
    while_written = pending.is_full
    store.may_write.set()
    await writing

    assert (while_written, pending.is_full) == (True, False)


async def test_a_cancelled_commit_loses_nothing(store: SlowStore) -> None:
    """The next commit writes its changes."""
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


async def test_the_latest_change_of_an_address_is_written(store: SlowStore) -> None:
    """Also after the write of an earlier change failed."""
    pending = PendingWrites(store, limit=10_000)
    reserved = [reservation(1), reservation(2)]
    for each in reserved:
        pending.reserved(each)
    store.fails = True
    with pytest.raises(StorageUnavailable):
        await pending.commit()
    store.fails = False
    for each in reserved:
        pending.released(each)
    pending.reserved(reserved[1])
    await pending.commit()

    assert (await store.load()).reservations == [reserved[1]]
