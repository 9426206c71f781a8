"""What happens to the pre-shared keys of devices: set, replaced, removed. Each call writes the registry first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from span_events.bus.base import Bus
from span_events.errors import NotFound
from span_events.events.catalogue import DeviceUpdated
from span_events.ids import render
from span_events.registry.directory import Directory
from span_events.registry.model import Device, Psk
from span_events.registry.store import Store


class Psks:
    """
    The devices' pre-shared keys (RFC 4279); at most one per device.

    Args:
        lock: Held while the registry's devices change; shared with `Devices`.
    """

    def __init__(self, *, bus: Bus, store: Store, directory: Directory, lock: asyncio.Lock) -> None:
        self._bus = bus
        self._store = store
        self._directory = directory
        self._lock = lock
        self.on_changed: list[Callable[[Device], None]] = []
        """Called when a device's key is another one, or gone: sessions that rest on the old one should end."""

    async def put(self, device: Device, psk: Psk, *, cause: int) -> None:
        """
        Give a device a key, instead of the one that it may have.

        Raises:
            Conflict: Another device has this identity.
            NotFound: The device is gone.
        """
        async with self._lock:
            self._directory.device(device.collection.id, device.id)
            self._directory.check_psk(device.id, psk.identity)
            await self._store.put_psk(device.id, psk)
            self._change(device, psk)
        self._tell(device, cause)

    async def remove(self, device: Device, *, cause: int) -> None:
        """
        Take a device's key away.

        Raises:
            NotFound: The device is gone, or has none.
        """
        async with self._lock:
            self._directory.device(device.collection.id, device.id)
            if device.psk is None:
                raise NotFound(f"Device {render(device.id)} has no PSK")
            await self._store.delete_psk(device.id)
            self._change(device, None)
        self._tell(device, cause)

    def _change(self, device: Device, psk: Psk | None) -> None:
        with self._directory.changing(device):
            device.psk = psk

    def _tell(self, device: Device, cause: int) -> None:
        self._bus.publish(DeviceUpdated(origin=device.origin, correlation_id=cause))
        for tell in self.on_changed:
            tell(device)
