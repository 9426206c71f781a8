"""Pre-shared keys of devices: sets, replaces and removes them. Each call writes the registry first."""

from __future__ import annotations

from collections.abc import Callable

from span_events.bus.base import Bus
from span_events.errors import NotFound
from span_events.events.catalogue import DeviceUpdated
from span_events.ids import render
from span_events.registry.model import Device, Psk
from span_events.registry.registry import Registry


class Psks:
    """The devices' pre-shared keys (RFC 4279); at most one per device."""

    def __init__(self, *, bus: Bus, registry: Registry) -> None:
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self.on_changed: list[Callable[[Device], None]] = []
        """Called after a device's key was replaced or removed, to end the sessions of the old key."""

    async def put(self, device: Device, psk: Psk, *, cause: int) -> None:
        """
        Set or replace the key of a device.

        Raises:
            Conflict: Another device has this identity.
            NotFound: The device was removed.
        """
        async with self._registry.lock:
            self._directory.device(device.collection.id, device.id)
            self._directory.check_psk(device.id, psk.identity)
            await self._registry.store.put_psk(device.id, psk)
            self._change(device, psk)
        self._publish(device, cause)

    async def remove(self, device: Device, *, cause: int) -> None:
        """
        Remove the key of a device.

        Raises:
            NotFound: The device was removed, or has no key.
        """
        async with self._registry.lock:
            self._directory.device(device.collection.id, device.id)
            if device.psk is None:
                raise NotFound(f"Device {render(device.id)} has no PSK")
            await self._registry.store.delete_psk(device.id)
            self._change(device, None)
        self._publish(device, cause)

    def _change(self, device: Device, psk: Psk | None) -> None:
        with self._directory.changing(device):
            device.psk = psk

    def _publish(self, device: Device, cause: int) -> None:
        self._bus.publish(DeviceUpdated(origin=device.origin, correlation_id=cause))
        for notify in self.on_changed:
            notify(device)
