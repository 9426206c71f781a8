"""What changed on the mobile network and is not in the registry yet: written together, however many wait for it."""

from __future__ import annotations

import asyncio

from span_events.metrics import Metric
from span_events.registry.model import Attachment, Reservation
from span_events.registry.store import Store


class PendingWrites:
    """
    The changes of attachments and reservations on their way to the registry: of each what it is now.

    Args:
        limit: Changes from which on it is full; then nothing should happen that leads to more.
    """

    def __init__(self, store: Store, *, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._attachments: dict[int, Attachment | None] = {}  # None: is gone
        self._reservations: dict[str, Reservation | None] = {}
        self._one_at_a_time = asyncio.Lock()
        self.commits = 0
        """Number of transactions written."""

    def __len__(self) -> int:
        return len(self._attachments) + len(self._reservations)

    @property
    def is_full(self) -> bool:
        """Whether too much waits to be written."""
        return len(self) >= self._limit

    def changed(self, attachment: Attachment) -> None:
        """An attachment is new or another."""
        self._attachments[attachment.id] = attachment

    def ended(self, attachment: Attachment) -> None:
        """An attachment is gone."""
        self._attachments[attachment.id] = None

    def reserved(self, reservation: Reservation) -> None:
        """A reservation is new or another."""
        self._reservations[reservation.address] = reservation

    def released(self, address: str) -> None:
        """The reservation of an address is gone."""
        self._reservations[address] = None

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
            attachments, self._attachments = self._attachments, {}
            reservations, self._reservations = self._reservations, {}
            try:
                await self._store.change_cellular(attachments, reservations)
            except BaseException:
                self._attachments = attachments | self._attachments
                self._reservations = reservations | self._reservations
                raise
            self.commits += 1

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
