"""PostgreSQL that neither answers nor ends its connections, as its machine is frozen or the network is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from span_events.errors import StorageUnavailable
from span_events.registry import database
from span_events.registry.postgresql import Silence
from span_events.registry.shared.lock import SharedLock
from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.waiting import PATIENCE

MANY = 100
ANSWER_S = 1.0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a second for each answer."""
    monkeypatch.setattr(database, "ANSWER_S", ANSWER_S)
    monkeypatch.setattr(database, "_CONNECT_S", ANSWER_S)


@pytest.fixture
async def store(impatient: None, shared_store: Store) -> Store:  # in this order
    """A registry that several nodes share, and that one of them uses."""
    await shared_store.lock()
    return shared_store


async def refused(work: Awaitable[object]) -> None:
    """Wait until a registry that does not answer refuses some work."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await work


async def done(work: Callable[[], Awaitable[object]]) -> None:
    """Do some work as soon as the registry answers in time."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await work()
                break
            except StorageUnavailable:
                await asyncio.sleep(0.05)


async def change(lock: SharedLock) -> None:
    """Change the configuration, as a node does for a request."""
    async with lock:
        pass


async def nothing() -> None:
    """Catch up with no change."""


async def test_a_frozen_database_refuses_one_attempt_after_a_while_and_all_others_at_once(
    store: Store, postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait, they wait for one attempt together, not for each other; then everything works again."""
    silent: list[str] = []
    begins = Silence.begins

    def noted(silence: Silence, fault: str) -> None:
        silent.append(fault)
        begins(silence, fault)

    monkeypatch.setattr(Silence, "begins", noted)
    lock = SharedLock(store, nothing, asyncio.Lock())
    await asyncio.gather(*map(done, (store.probe, lambda: store.token("x"), lambda: change(lock))))
    silent.clear()
    postgresql.freeze()
    try:
        works = [work for _ in range(MANY) for work in (store.put_token_uses({1: 1}), change(lock))]
        await asyncio.gather(*map(refused, [store.token("x"), *works]))
        met = len(silent)
        await refused(store.probe())
    finally:
        postgresql.thaw()
    await done(lambda: store.put_token_uses({1: 1}))
    await done(lambda: change(lock))

    assert 1 <= met < MANY / 2
    assert await store.token_uses() == {1: 1}


async def test_a_silent_connection_of_notifications_is_lost(
    store: Store, postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that forgot the connection ends it at neither side, and no notification would ever come again."""
    monkeypatch.setattr(database, "_BEAT_S", 0.01)
    lost, told = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(PATIENCE), store.listening({"silence": lambda _: told.set()}, lost.set):
        await postgresql.execute("NOTIFY silence")
        await told.wait()
        assert not lost.is_set()
        postgresql.freeze()
        try:
            await lost.wait()
        finally:
            postgresql.thaw()


async def test_a_read_of_everything_that_meets_silence_ends(impatient: None, postgresql: PostgresqlServer) -> None:
    """A node reads everything after an outage, and its changes and Access-Accepts wait meanwhile."""
    url = await postgresql.new_schema()
    store, engine = Store(url, shared=True), create_async_engine(url)
    await store.open()
    async with engine.connect() as other:
        await other.execute(text("LOCK TABLE cellular_reservations"))
        await asyncio.gather(refused(store.cellular(None, None, {})), refused(store.load()))
    await engine.dispose()
    await store.close()
