"""Devices by the EUI-64 in their tag ``devEui``, within each collection."""

from __future__ import annotations

from collections.abc import Iterable

from span_events.dialects.chirpstack.identity import EUI_TAG, real_eui
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Device

_Key = tuple[int, str]


class EuiIndex:
    """
    Finds a device by its collection and EUI-64; of several with the same, the one that had it first.

    Nothing forbids two collections, or two devices, the same tag.
    """

    def __init__(self) -> None:
        self._devices: dict[_Key, dict[int, Device]] = {}
        self._keys: dict[int, _Key] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, collection_id: int, eui: str) -> Device | None:
        """Return the device of a collection with an EUI-64."""
        return next(iter(self._devices.get((collection_id, eui), {}).values()), None)

    def fill(self, devices: Iterable[Device]) -> None:
        """Add the devices of the registry."""
        for device in devices:
            self._put(device)

    def device_created(self, device: Device, _cause: int) -> None:
        """Add a device that the API created."""
        self._put(device)

    def device_updated(self, device: Device, _change: DeviceChange, _cause: int) -> None:
        """Follow a changed tag, and a move to another collection."""
        if self._keys.get(device.id) != self._key_of(device):
            self._drop(device)
            self._put(device)

    def device_removed(self, device: Device, _cause: int) -> None:
        """Forget a device."""
        self._drop(device)

    def _key_of(self, device: Device) -> _Key | None:
        eui = real_eui(device.tags.get(EUI_TAG, ""))
        return (device.collection.id, eui) if eui else None

    def _put(self, device: Device) -> None:
        key = self._key_of(device)
        if key is not None:
            self._devices.setdefault(key, {})[device.id] = device
            self._keys[device.id] = key

    def _drop(self, device: Device) -> None:
        key = self._keys.pop(device.id, None)
        if key is None:
            return
        del self._devices[key][device.id]
        if not self._devices[key]:
            del self._devices[key]
