"""The lock of a registry that several nodes share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from types import TracebackType

from span_events.errors import StorageUnavailable
from span_events.registry.store import Store


class SharedLock:
    """
    A lock that one task of one node holds at a time; its holder has seen the changes of all nodes.

    The holder reads and writes without further care. A holder that loses its connection, and with that the lock,
    cannot write: see `Journal`.

    Args:
        catch_up: Shows the changes of other nodes in the directory; called under the lock.
        local: Held with the lock, so that no change of another node is shown between this node's check and its write.
    """

    def __init__(self, store: Store, catch_up: Callable[[], Awaitable[None]], local: asyncio.Lock) -> None:
        self._store = store
        self._catch_up = catch_up
        self._local = local
        self._held = AsyncExitStack()

    async def __aenter__(self) -> None:
        """
        Wait for the lock, and catch up.

        Raises:
            StorageUnavailable: PostgreSQL cannot be reached, or another node holds the lock for too long.
        """
        await self._local.acquire()
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._store.exclusive())
                await self._catch_up()
                self._held = stack.pop_all()
        except BaseException:
            self._local.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock, once a write whose caller was cancelled is over."""
        try:
            await asyncio.shield(self._release(self._held))  # or the connection would keep the lock
        finally:
            self._local.release()

    async def _release(self, held: AsyncExitStack) -> None:
        await self._store.settle()
        with suppress(StorageUnavailable):  # the connection was lost, and the lock with it
            await held.aclose()
