"""Pending writes: collects changes of attachments and reservations, and writes them in few transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from span_events.metrics import Metric
from span_events.registry.model import Attachment, Reservation
from span_events.registry.store import Store


class _Change(NamedTuple):
    """The change of an address."""

    old: Reservation | None
    """Reservation to delete, unless another one has replaced it."""
    new: Reservation | None

    def after(self, earlier: _Change | None) -> _Change:
        """Return the sum of an earlier change and this one."""
        return self if self.old or earlier is None else _Change(earlier.old, self.new)


class PendingWrites:
    """
    The latest state of each changed attachment and reservation until the registry holds it.

    Args:
        limit: Number of changes from which the listener accepts no more requests.
    """

    def __init__(self, store: Store, *, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._attachments: dict[int, Attachment | None] = {}  # None: ended
        self._reservations: dict[str, _Change] = {}
        self.lock = asyncio.Lock()
        """Held while a transaction is written. A reader that holds it shows rows before a later transaction."""
        self._under_way = 0
        self.on_lost: Callable[[list[Reservation]], None] = lambda lost: None
        """Called with reservations of other nodes, for addresses that this node wanted to reserve."""
        self.commits = 0
        """Number of transactions written."""

    def __len__(self) -> int:
        return self._under_way + len(self._attachments) + len(self._reservations)

    @property
    def is_full(self) -> bool:
        """True while the number of changes is at its limit."""
        return len(self) >= self._limit

    def __contains__(self, attachment_id: int) -> bool:
        """Return whether an attachment has a change that no transaction has begun to write."""
        return attachment_id in self._attachments

    def changed(self, attachment: Attachment) -> None:
        """Write a new or changed attachment with the next transaction."""
        self._attachments[attachment.id] = attachment

    def ended(self, attachment: Attachment) -> None:
        """Delete an ended attachment with the next transaction."""
        self._attachments[attachment.id] = None

    def reserved(self, reservation: Reservation) -> None:
        """Write a new or changed reservation with the next transaction."""
        self._change(reservation.address, _Change(None, reservation))

    def released(self, reservation: Reservation) -> None:
        """Delete a reservation with the next transaction."""
        self._change(reservation.address, _Change(reservation, None))

    def _change(self, address: str, change: _Change) -> None:
        self._reservations[address] = change.after(self._reservations.get(address))

    async def commit(self) -> None:
        """
        Wait until the registry holds all changes made before the call. Cancelling loses nothing.

        While a transaction is written, all waiting callers share the next one. So a storm of requests costs few
        transactions, and a single request is written at once.

        Raises:
            StorageUnavailable: The write failed; the changes are kept for the next call.
        """
        async with self.lock:
            if not self:
                return
            attachments, self._attachments = self._attachments, {}
            reservations, self._reservations = self._reservations, {}
            self._under_way = len(attachments) + len(reservations)
            try:
                lost = await self._store.change_cellular(
                    attachments,
                    [each.new for each in reservations.values() if each.new],
                    [each.old for each in reservations.values() if each.old],
                )
            except BaseException:
                self._attachments = attachments | self._attachments
                newer, self._reservations = self._reservations, reservations
                for address, change in newer.items():
                    self._change(address, change)
                raise
            finally:
                self._under_way = 0
            self.commits += 1
            if lost:
                self.on_lost(lost)

    def metrics(self) -> list[Metric]:
        """List the metrics of the transactions."""
        return [
            Metric(
                "cellular_commits",
                "Transactions that wrote attachments and reservations to the registry.",
                "counter",
                lambda: self.commits,
            ),
            Metric(
                "cellular_unwritten",
                "Changes that wait for the registry; from cellular.sessions on, accounting is dropped.",
                "gauge",
                lambda: len(self),
            ),
        ]
