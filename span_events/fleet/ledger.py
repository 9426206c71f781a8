"""What changed of attachments and is not in the registry yet: written together, however many wait for it."""

from __future__ import annotations

import asyncio

from span_events.registry.model import Attachment
from span_events.registry.store import Store


class Ledger:
    """The changes of attachments on their way to the registry."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: dict[int, Attachment] = {}
        self._ended: set[int] = set()
        self._one_at_a_time = asyncio.Lock()
        self.commits = 0
        """Transactions written."""

    def __len__(self) -> int:
        return len(self._changed) + len(self._ended)

    def changed(self, attachment: Attachment) -> None:
        """An attachment is new or another."""
        self._changed[attachment.id] = attachment

    def ended(self, attachment: Attachment) -> None:
        """An attachment is gone."""
        self._changed.pop(attachment.id, None)
        self._ended.add(attachment.id)

    async def commit(self) -> None:
        """
        Wait until everything that changed before is in the registry. Cancelling loses nothing.

        Whoever waits for a transaction that is being written finds the next one to be everybody's who waits. So a
        storm of requests costs a few transactions, and a single request does not wait for company.

        Raises:
            StorageUnavailable: It is not; what changed is kept for the next call.
        """
        async with self._one_at_a_time:
            if not self:
                return
            changed, self._changed = self._changed, {}
            ended, self._ended = self._ended, set()
            try:
                await self._store.change_attachments(list(changed.values()), list(ended))
            except BaseException:
                self._ended |= ended
                self._changed = {key: each for key, each in changed.items() if key not in self._ended} | self._changed
                raise
            self.commits += 1
