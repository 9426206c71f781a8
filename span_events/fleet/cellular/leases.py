"""Which address a device gets when it attaches: its own, the one that is reserved for it, or one of the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from span_events.bounded.idle import IdleTimers
from span_events.clock import Clock
from span_events.config import CellularConfig
from span_events.fleet.cellular.attachment_index import AttachmentIndex
from span_events.fleet.cellular.pending import PendingWrites
from span_events.fleet.cellular.pool import Pool
from span_events.metrics import Metric
from span_events.registry.addresses import prefix_of
from span_events.registry.directory import Directory
from span_events.registry.model import Device, Reservation

_SLICE: Final = 1_000
"""Reservations that lapse in one look, at most; the others do in the next."""


class Subscriber(NamedTuple):
    """Whom an address is reserved for."""

    who: int | tuple[str, str]
    """Id of a device, or the numbers of somebody who is no device of ours."""
    apn: str
    device: Device | None

    @classmethod
    def of(cls, device: Device | None, imsi: str = "", imei: str = "", apn: str = "") -> Subscriber:
        """Name somebody: the device if it is one, else the numbers."""
        return cls(device.id if device else (imsi, imei), apn, device)


class Lease(NamedTuple):
    """An IPv4 address and an IPv6 prefix; empty is none, then the mobile core chooses."""

    address: str = ""
    prefix: str = ""


_NOTHING: Final = Lease()


def own_lease(device: Device | None) -> Lease:
    """Return what is a device's own: an address, or the prefix around it."""
    own = device.ciot.static_ip if device else ""
    return Lease(prefix=prefix_of(own)) if ":" in own else Lease(own)


class Allocation:
    """
    The pools, and what is reserved between Accept and Start.

    Reservations of the pool are in the registry, or a restart would let it promise an address twice; but not of an
    address that the device had last, which a restart keeps for it anyway.

    An address of the pool that is some device's own is not given out before the next start of the server when it
    is no longer that.

    Args:
        is_written: Tells whether the registry has everything of a device.
    """

    def __init__(
        self,
        config: CellularConfig,
        *,
        directory: Directory,
        attachments: AttachmentIndex,
        pending: PendingWrites,
        is_written: Callable[[Device], bool],
        clock: Clock,
    ) -> None:
        self._config = config
        self._is_written = is_written
        self._rests_long_enough = config.quarantine >= config.reservation
        self._directory = directory
        self._attachments = attachments
        self._ledger = pending
        self._clock = clock
        self._ipv4, self._ipv6 = (Pool(config.pool, version=version) for version in (4, 6))
        self._leases: dict[Subscriber, Lease] = {}
        self._owners: dict[str, Subscriber] = {}
        self._stored: set[str] = set()  # addresses whose reservation is in the registry, or on its way there
        self._expiry: IdleTimers[Subscriber] = IdleTimers()

    def fill(self, reservations: Iterable[Reservation]) -> None:
        """Take over what the registry holds, each with the time that is left for it."""
        now, now_ms = self._clock.monotonic(), self._clock.time_ns() // 1_000_000
        lifetime = self._config.reservation
        for each in sorted(reservations, key=lambda each: each.until_ms):
            address, is_prefix = each.address, ":" in each.address
            if address not in (self._ipv6 if is_prefix else self._ipv4):
                self._ledger.released(address)
                continue
            subscriber = self._subscriber_of(each)
            lease = self._leases.get(subscriber, _NOTHING)
            self._leases[subscriber] = lease._replace(**{"prefix" if is_prefix else "address": address})
            self._owners[address] = subscriber
            self._stored.add(address)
            left = min((each.until_ms - now_ms) / 1000, lifetime)  # the clock may have been set back meanwhile
            self._expiry.touch(subscriber, now + left - lifetime, lifetime)

    def reserve(self, subscriber: Subscriber, now: float, *, ipv4: bool = True, ipv6: bool = True) -> Lease | None:
        """
        Find an address and keep it for a while; asking again gives the same.

        Args:
            ipv4: Whether an IPv4 address is asked for.
            ipv6: Whether an IPv6 prefix is; of the two, one is enough.

        Returns:
            What is kept; None if there is nothing left of what was asked for.
        """
        last = self.withdraw(subscriber) or self._last(subscriber)
        own = own_lease(subscriber.device)
        address = (own.address or self._take(self._ipv4, subscriber, last.address, now)) if ipv4 else ""
        prefix = (own.prefix or self._take(self._ipv6, subscriber, last.prefix, now)) if ipv6 else ""
        if (address is None or prefix is None) and not (address or prefix):
            return None
        address, prefix = address or "", prefix or ""
        if len(self._leases) >= self._config.sessions:
            quietest = self._expiry.quietest()
            assert quietest is not None, "there are some"
            self.withdraw(quietest)
        lease = self._leases[subscriber] = Lease(address, prefix)
        self._owners |= {each: subscriber for each in lease if each}
        self._expiry.touch(subscriber, now, self._config.reservation)
        if address and not own.address and not self._is_kept(subscriber.device, address):
            self._store(subscriber, address)
        if prefix and not own.prefix and not self._is_kept(subscriber.device, prefix):
            self._store(subscriber, prefix)
        return lease

    def is_stored(self, lease: Lease) -> bool:
        """Tell whether the registry has to know of a lease before its subscriber does."""
        return not self._stored.isdisjoint(lease)

    def withdraw(self, subscriber: Subscriber, *, used: Lease = _NOTHING) -> Lease | None:
        """
        End a reservation; None if there was none.

        Args:
            used: What its subscriber has attached with.
        """
        lease = self._leases.pop(subscriber, None)
        if lease is None:
            return None
        self._expiry.drop(subscriber)
        for address, was_used, pool in zip(lease, used, (self._ipv4, self._ipv6), strict=True):
            self._owners.pop(address, None)
            if address in self._stored:
                self._stored.remove(address)
                self._ledger.released(address)
            if address != was_used:
                pool.free(address, subscriber.who)
        return lease

    def free(self, subscriber: Subscriber, lease: Lease, now: float) -> None:
        """Take back what was in use; for a while nobody else gets it."""
        until = now + self._config.quarantine
        self._ipv4.free(lease.address, subscriber.who, until)
        self._ipv6.free(lease.prefix, subscriber.who, until)

    def sweep(self, now: float) -> None:
        """Once a second or so: end reservations of which nobody made use."""
        for subscriber in self._expiry.take_due(now, limit=_SLICE):
            self.withdraw(subscriber)

    def metrics(self) -> list[Metric]:
        """What is counted here."""
        return [
            Metric(
                "cellular_reservations",
                "Addresses reserved between Accept and Start; at most cellular.sessions.",
                "gauge",
                lambda: len(self._leases),
            ),
            Metric(
                "cellular_pool_left",
                "Addresses of cellular.pool that can be given out, now or after cellular.quarantine.",
                "gauge",
                lambda: {"ipv4": self._ipv4.left, "ipv6": self._ipv6.left},
                label="family",
            ),
        ]

    def _is_kept(self, device: Device | None, address: str) -> bool:
        """Tell whether a restart keeps an address for a device without a reservation, see `Presence.fill`."""
        if device is None or address not in (device.ciot.last_ip, device.ciot.last_prefix):
            return False
        return self._rests_long_enough and self._is_written(device)

    def _store(self, subscriber: Subscriber, address: str) -> None:
        """Let the registry keep an address of the pool for somebody."""
        until_ms = self._clock.time_ns() // 1_000_000 + int(self._config.reservation * 1000)
        who = subscriber.who
        device_id, numbers = (who, ("", "")) if isinstance(who, int) else (None, who)
        self._stored.add(address)
        self._ledger.reserved(Reservation(address, device_id, *numbers, subscriber.apn, until_ms))

    def _subscriber_of(self, reservation: Reservation) -> Subscriber:
        device_id = reservation.device_id
        if device_id is None:
            return Subscriber.of(None, reservation.imsi, reservation.imei, reservation.apn)
        return Subscriber(device_id, reservation.apn, self._directory.devices.get(device_id))

    def _last(self, subscriber: Subscriber) -> Lease:
        """Return what a device has over the same APN, or else what it had last."""
        device = subscriber.device
        if device is None:
            return _NOTHING
        for attachment in self._attachments.of_device(device):
            if attachment.apn == subscriber.apn:
                return Lease(attachment.address, attachment.prefix)
        return Lease(device.ciot.last_ip, device.ciot.last_prefix)

    def _take(self, pool: Pool, subscriber: Subscriber, preferred: str, now: float) -> str | None:
        if not pool.size:
            return ""
        is_taken = partial(self._is_taken, subscriber)
        return pool.take(subscriber.who, now, preferred=preferred, is_taken=is_taken)

    def _is_taken(self, subscriber: Subscriber, address: str) -> bool:
        """Tell whether an address is somebody else's."""
        device = subscriber.device
        holder = self._attachments.holder(address)
        if holder is not None and (device is None or holder.device is not device or holder.apn != subscriber.apn):
            return True
        if self._owners.get(address, subscriber) != subscriber:
            return True
        owner = self._directory.device_with_static(address)
        return owner is not None and owner is not device
