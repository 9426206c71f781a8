"""Leases: assigns a device that attaches its static address, its reserved address, or one of the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
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
"""Upper bound of reservations that lapse in one sweep; the next sweep ends the rest."""


class Subscriber(NamedTuple):
    """The owner of a reservation."""

    owner: int | tuple[str, str]
    """Id of a device, or IMSI and IMEI of an unknown subscriber."""
    apn: str
    device: Device | None

    @classmethod
    def of(cls, device: Device | None, imsi: str = "", imei: str = "", apn: str = "") -> Subscriber:
        """Return the subscriber with a device; without a device, the numbers name the subscriber."""
        return cls(device.id if device else (imsi, imei), apn, device)


class Lease(NamedTuple):
    """An IPv4 address and an IPv6 prefix. An empty one is chosen by the mobile core."""

    address: str = ""
    prefix: str = ""


_NOTHING: Final = Lease()


def own_lease(device: Device | None) -> Lease:
    """Return the static lease of a device: its address, or the prefix around an IPv6 address."""
    own = device.ciot.static_ip if device else ""
    return Lease(prefix=prefix_of(own)) if ":" in own else Lease(own)


class Allocation:
    """
    The pools, and the addresses reserved between Access-Accept and Start.

    Reservations of pool addresses are written to the registry; otherwise a restarted server could assign one
    address twice. The last address of a device is not written: after a restart it is quarantined for this device.

    A pool address that stops being the static address of a device is assigned again after the next start of the
    server.

    Args:
        is_written: Returns True if the registry holds the current state of a device.
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
        self._quarantine_suffices = config.quarantine >= config.reservation
        self._directory = directory
        self._attachments = attachments
        self._pending = pending
        pending.on_lost = self._lose
        self._clock = clock
        self._ipv4, self._ipv6 = (Pool(config.pool, version=version) for version in (4, 6))
        self._leases: dict[Subscriber, Lease] = {}
        self._owners: dict[str, Subscriber] = {}
        self._stored: dict[str, Reservation] = {}  # those that are in the registry, or on their way there, by address
        self._expiry: IdleTimers[Subscriber] = IdleTimers()

    def fill(self, reservations: Iterable[Reservation], *, from_start: bool) -> None:
        """
        Load the reservations of the registry, each with its remaining time.

        Args:
            from_start: Give each its whole time: other nodes, whose clocks may differ, have written its end.
        """
        now_ms, lifetime = self._clock.time_ns() // 1_000_000, self._config.reservation
        for each in sorted(reservations, key=lambda each: each.until_ms):
            left = min((each.until_ms - now_ms) / 1000, lifetime)  # the clock may have been set back meanwhile
            if not self._hold(each, lifetime if from_start else left):
                self._pending.released(each)

    def _hold(self, reservation: Reservation, left: float) -> bool:
        """Hold a reservation of the registry for some seconds; return False if the pool does not have its address."""
        address, is_prefix = reservation.address, ":" in reservation.address
        if address not in (self._ipv6 if is_prefix else self._ipv4):
            return False
        subscriber = self._subscriber_of(reservation)
        lease = self._leases.get(subscriber, _NOTHING)
        self._leases[subscriber] = lease._replace(**{"prefix" if is_prefix else "address": address})
        self._owners[address] = subscriber
        self._stored[address] = reservation
        lifetime = self._config.reservation
        self._expiry.touch(subscriber, self._clock.monotonic() + left - lifetime, lifetime)
        return True

    def reserve(self, subscriber: Subscriber, now: float, *, ipv4: bool = True, ipv6: bool = True) -> Lease | None:
        """
        Reserve a lease for a while; repeated calls return the same lease.

        Args:
            ipv4: True to request an IPv4 address.
            ipv6: True to request an IPv6 prefix. One of the two is enough for a lease.

        Returns:
            The lease; None if the pool has none of the requested addresses left.
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
        """Return True if the registry must hold a lease before the Access-Accept is sent."""
        return not self._stored.keys().isdisjoint(lease)

    def withdraw(self, subscriber: Subscriber, *, used: Lease = _NOTHING) -> Lease | None:
        """
        End a reservation and return its lease; None if there was none.

        Args:
            used: The lease with which the subscriber attached.
        """
        lease = self._leases.pop(subscriber, None)
        if lease is None:
            return None
        self._expiry.drop(subscriber)
        for address, was_used, pool in zip(lease, used, (self._ipv4, self._ipv6), strict=True):
            if self._owners.get(address) == subscriber:  # not if another node has promised the address to another
                del self._owners[address]
                if address in self._stored:
                    self._pending.released(self._stored.pop(address))
            if address != was_used:
                pool.free(address, subscriber.owner)
        return lease

    def free(self, subscriber: Subscriber, lease: Lease, now: float) -> None:
        """Return a used lease to the pool; the quarantine keeps it from other subscribers."""
        until = now + self._config.quarantine
        self._ipv4.free(lease.address, subscriber.owner, until)
        self._ipv6.free(lease.prefix, subscriber.owner, until)

    def show(self, reservations: Iterable[Reservation], addresses: AbstractSet[str]) -> None:
        """Show reservations that other nodes wrote; those of ``addresses`` that are not there have ended."""
        found = {each.address: each for each in reservations}
        for address in addresses:
            before = self._stored.get(address)
            if before is None:
                continue
            if before == found.get(address):
                del found[address]  # its time goes on
                continue
            del self._stored[address]  # the registry has no such reservation to delete
            subscriber = self._owners.get(address)
            if subscriber is not None and (address not in found or self._subscriber_of(found[address]) != subscriber):
                self.withdraw(subscriber)
        for each in found.values():
            self._hold(each, self._config.reservation)

    def holds(self, subscriber: Subscriber, lease: Lease) -> bool:
        """Return whether a lease is still reserved; another node may have reserved an address of it first."""
        return self._leases.get(subscriber) == lease

    def _lose(self, reservations: list[Reservation]) -> None:
        """Give up the reservations of addresses that another node reserved first."""
        self.show(reservations, {each.address for each in reservations})

    def stored(self) -> set[str]:
        """Return the addresses whose reservation is in the registry."""
        return set(self._stored)

    def sweep(self, now: float) -> None:
        """End reservations without a Start; called about once a second."""
        for subscriber in self._expiry.take_due(now, limit=_SLICE):
            self.withdraw(subscriber)

    def metrics(self) -> list[Metric]:
        """List the metrics of reservations and pools."""
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
        """Return True if an address stays with a device after a restart without a reservation (`Attachments.fill`)."""
        if device is None or address not in (device.ciot.last_ip, device.ciot.last_prefix):
            return False
        return self._quarantine_suffices and self._is_written(device)

    def _store(self, subscriber: Subscriber, address: str) -> None:
        """Write the reservation of a pool address to the registry."""
        until_ms = self._clock.time_ns() // 1_000_000 + int(self._config.reservation * 1000)
        owner = subscriber.owner
        device_id, numbers = (owner, ("", "")) if isinstance(owner, int) else (None, owner)
        reservation = self._stored[address] = Reservation(address, device_id, *numbers, subscriber.apn, until_ms)
        self._pending.reserved(reservation)

    def _subscriber_of(self, reservation: Reservation) -> Subscriber:
        device_id = reservation.device_id
        if device_id is None:
            return Subscriber.of(None, reservation.imsi, reservation.imei, reservation.apn)
        return Subscriber(device_id, reservation.apn, self._directory.devices.get(device_id))

    def _last(self, subscriber: Subscriber) -> Lease:
        """Return the current lease of a device over the same APN; without one, its last lease."""
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
        return pool.take(subscriber.owner, now, preferred=preferred, is_taken=is_taken)

    def _is_taken(self, subscriber: Subscriber, address: str) -> bool:
        """Return True if an address belongs to another subscriber."""
        device = subscriber.device
        holder = self._attachments.holder(address)
        if holder is not None and (device is None or holder.device is not device or holder.apn != subscriber.apn):
            return True
        if self._owners.get(address, subscriber) != subscriber:
            return True
        owner = self._directory.device_with_static(address)
        return owner is not None and owner is not device
