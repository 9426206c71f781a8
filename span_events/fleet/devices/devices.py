"""
Devices: creates, changes, moves and removes them for the API.

Each public method writes the registry first, then changes the directory and publishes the events.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.errors import Conflict, InvalidRequest, NotFound
from span_events.events.activity import Origin, SpanId
from span_events.events.catalogue import DeviceCreated, DeviceMoved, DeviceRemoved, DeviceUpdated
from span_events.events.reasons import DisconnectReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.fleet.targets import check_image, move
from span_events.ids import render
from span_events.registry.model import CiotMetadata, Collection, Device
from span_events.registry.registry import Guard, Registry, unguarded


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChange:
    """Requested change of a device; None keeps a value."""

    collection_id: int | None = None
    """Another collection than the device's moves it."""
    tags: Mapping[str, str] | None = None
    """Merged into the present tags."""
    enabled: bool | None = None
    imsi: str | None = None
    """Empty clears it; likewise below."""
    imei: str | None = None
    gateways: Mapping[int, Mapping[str, str]] | None = None
    """Parameters per gateway: an empty block removes the present one, any other block replaces it."""
    allocated_ip: str | None = None
    """Canonical text; reserved for the device. The present address changes nothing."""
    static_ip: str | None = None
    """Canonical text: the address reserved for the device, also while the mobile core assigns another one."""
    target_firmware_id: int | None = None

    def is_empty(self) -> bool:
        """Return whether this changes at most the collection."""
        others = (self.enabled, self.imsi, self.imei, self.allocated_ip, self.static_ip, self.target_firmware_id)
        return not self.tags and not self.gateways and all(each is None for each in others)

    def apply_to(self, device: Device, now_ms: int) -> None:
        """Change everything but the collection."""
        device.tags.update(self.tags or {})
        if self.enabled is not None:
            device.enabled = self.enabled
        if self.imsi is not None:
            device.config.imsi = self.imsi
        if self.imei is not None:
            device.config.imei = self.imei
        for gateway_id, parameters in (self.gateways or {}).items():
            if parameters:
                device.config.gateways[gateway_id] = dict(parameters)
            else:
                device.config.gateways.pop(gateway_id, None)
        self._apply_addresses(device.ciot, now_ms)
        if self.target_firmware_id is not None:
            device.firmware.target_firmware_id = self.target_firmware_id

    def _apply_addresses(self, ciot: CiotMetadata, now_ms: int) -> None:
        """Reserve a requested address; a client that sends the present address back requests no change."""
        allocated, static = self.allocated_ip, self.static_ip
        if allocated == ciot.allocated_ip:
            allocated = None
        if static is None:
            static = allocated
        elif allocated is None and ciot.allocated_ip == ciot.static_ip:
            allocated = static  # the mobile core assigned no other address
        if static is not None:
            ciot.static_ip = static
        if allocated is not None and allocated != ciot.allocated_ip:
            ciot.allocated_ip = allocated
            ciot.allocated_at = ciot.last_update = now_ms


class Devices:
    """
    The fleet's devices.

    Other parts put functions into the lists ``on_…``. They are called, and must neither await nor
    raise, when the registry and the directory have changed; the last argument is the cause:

    - `create` publishes `deviceCreated` and calls ``on_created``;
    - `update` ends the sessions of a device that may no longer send, publishes `deviceMoved` and
      `deviceUpdated`, and calls ``on_updated``;
    - `remove` ends the sessions, fails the downstream messages, calls ``on_removed``, and
      publishes `deviceRemoved`.

    So events about ends precede the move or removal; events about consequences follow the change.

    """

    def __init__(
        self,
        *,
        bus: Bus,
        registry: Registry,
        reception: Reception,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self._reception = reception
        self._outbox = outbox
        self._clock = clock
        self.on_created: list[Callable[[Device, int], None]] = []
        self.on_updated: list[Callable[[Device, DeviceChange, int], None]] = []
        """Called after each `update`, also one that only moved the device (`DeviceChange.is_empty`)."""
        self.on_removed: list[Callable[[Device, int], None]] = []

    async def create(
        self, collection: Collection, change: DeviceChange, *, cause: int, guard: Guard = unguarded
    ) -> Device:
        """
        Create a device.

        Args:
            guard: Raises what forbids that; called while no other change can begin.

        Raises:
            Conflict: Another device has its address, IMSI or IMEI.
            InvalidRequest: The change names a gateway that cannot carry the device, or a target of another collection.
            NotFound: The collection was removed.
        """
        time_ns = self._clock.time_ns()
        async with self._registry.lock:
            self._directory.collection(collection.id)
            guard()
            device = Device(self._bus.new_id(time_ns), collection)
            change.apply_to(device, time_ns // 1_000_000)
            self._check_gateways(collection, change, {})
            self._check_target(collection, change)
            self._directory.check_identities(device)
            await self._registry.store.put_devices([device])
            self._directory.add(device)
        self._bus.publish(DeviceCreated(origin=device.origin, correlation_id=cause))
        for notify in self.on_created:
            notify(device, cause)
        return device

    async def update(self, device: Device, change: DeviceChange, *, cause: int, guard: Guard = unguarded) -> Device:
        """
        Change a device, or move it, or both.

        Args:
            guard: Raises what forbids the change; called while no other change can begin.

        Raises:
            Conflict: Another device has the new identity, or a gateway's block forbids the move.
            InvalidRequest: The change names a gateway that cannot carry the device, or a target of another collection.
            NotFound: The device was removed or moved meanwhile, or the target collection was removed.
        """
        now_ms = self._clock.time_ns() // 1_000_000
        before, collection_id = device.origin, device.collection.id
        async with self._registry.lock:
            self._directory.device(collection_id, device.id)  # the caller may have access to this collection only
            guard()
            target = self._target(device, change)
            self._check_gateways(target, change, device.config.gateways)
            self._check_target(target, change)
            draft = _copy(device)
            move(draft, target, self._directory.images)
            change.apply_to(draft, now_ms)
            self._directory.check_identities(draft)
            await self._registry.store.put_devices([draft])
            with self._directory.changing(device):
                move(device, target, self._directory.images)
                change.apply_to(device, now_ms)
        moved = device.origin != before
        if change.enabled is False or (moved and not target.enabled):
            self._reception.sessions.end(device, DisconnectReason.DEVICE_DISABLED, cause)
        if moved:
            self._publish_move(device, before, cause)
        if not moved or not change.is_empty():
            self._bus.publish(DeviceUpdated(origin=device.origin, correlation_id=cause))
        if any(not block for block in (change.gateways or {}).values()):
            self._outbox.review(device, cause=cause)
        for notify in self.on_updated:
            notify(device, change, cause)
        return device

    async def remove(self, device: Device, *, cause: int) -> None:
        """
        Remove a device and its waiting messages.

        Raises:
            NotFound: The device was removed already, or moved meanwhile.
        """
        collection_id = device.collection.id
        async with self._registry.lock:
            self._directory.device(collection_id, device.id)
            await self._registry.store.delete_device(device.id)
            self._directory.remove(device)
        self._reception.device_removed(device, cause=cause)
        self._outbox.device_removed(device, cause=cause)
        for notify in self.on_removed:
            notify(device, cause)
        self._bus.publish(DeviceRemoved(origin=device.origin, correlation_id=cause))

    def _publish_move(self, device: Device, before: Origin, cause: int) -> None:
        assert before.collection_id is not None
        for origin in (before, device.origin):
            self._bus.publish(
                DeviceMoved(
                    origin=origin,
                    correlation_id=cause,
                    from_collection=SpanId(before.collection_id),
                    to_collection=SpanId(device.collection.id),
                )
            )

    def _target(self, device: Device, change: DeviceChange) -> Collection:
        if change.collection_id is None or change.collection_id == device.collection.id:
            return device.collection
        if device.config.gateways:
            raise Conflict(
                "collectionId: a device with a gateway block cannot move",
                hint="Remove the blocks under config.gateway first.",
                field="collectionId",
            )
        return self._directory.collection(change.collection_id)

    def _check_gateways(self, collection: Collection, change: DeviceChange, present: Container[int]) -> None:
        """Refuse a new block for a built-in gateway, or for a gateway of another collection."""
        for gateway_id, parameters in (change.gateways or {}).items():
            if gateway_id in present or not parameters:
                continue
            field = f"config.gateway.{render(gateway_id)}"
            try:
                gateway = self._directory.gateway(collection.id, gateway_id)
            except NotFound as exc:
                raise InvalidRequest(f"{field}: {exc.detail}", field=field) from exc
            if gateway.built_in:
                raise InvalidRequest(
                    f"{field}: gateway {render(gateway_id)} is built in",
                    hint="Behind it are the devices with config.ciot or a certificate; no block is needed.",
                    field=field,
                )

    def _check_target(self, collection: Collection, change: DeviceChange) -> None:
        """Refuse a target that is no image of the same collection."""
        check_image(self._directory.images, collection.id, change.target_firmware_id, field="firmware.targetFirmwareId")


def _copy(device: Device) -> Device:
    """Copy a device with all values that a change may touch."""
    return dataclasses.replace(
        device,
        tags=dict(device.tags),
        config=dataclasses.replace(device.config, gateways=dict(device.config.gateways)),
        firmware=dataclasses.replace(device.firmware),
        ciot=dataclasses.replace(device.ciot),
        inet=dataclasses.replace(device.inet),
    )
