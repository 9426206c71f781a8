"""
Gateways of the registry: creates, changes, moves and removes them for the API.

Each public method writes the registry first, then changes the directory, then updates a connected gateway.
Span has no events for gateways themselves; `deviceUpdated` reports the devices that lose a block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.errors import Conflict
from span_events.events.catalogue import DeviceUpdated
from span_events.events.reasons import GatewayReason
from span_events.fleet.devices.outbox import Outbox
from span_events.fleet.gateways.sessions import GatewaySessions
from span_events.ids import render
from span_events.registry.model import Collection, Device, Gateway, GatewayType
from span_events.registry.registry import Guard, Registry, unguarded

_NAMED: Final = 5
"""Largest number of devices that an error message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayChange:
    """Requested changes; None leaves a value as it is."""

    collection_id: int | None = None
    """Collection of the gateway; a different one moves the gateway."""
    name: str | None = None
    type: GatewayType | None = None
    """Type of the gateway; built-in types are not allowed."""
    params: Mapping[str, str] | None = None
    """Replaces all parameters; an empty block changes none, since clients send one with every update."""
    tags: Mapping[str, str] | None = None
    """Merged into the present tags."""
    enabled: bool | None = None

    def changes_config(self) -> bool:
        """Return True if the configuration sent to the gateway changes."""
        return bool(self.params or self.tags)

    def apply_to(self, gateway: Gateway) -> None:
        """Apply all changes but that of the collection."""
        gateway.tags.update(self.tags or {})
        if self.name:
            gateway.name = self.name
        if self.type is not None:
            gateway.type = self.type
        if self.params:
            gateway.params = dict(self.params)
        if self.enabled is not None:
            gateway.enabled = self.enabled


class Gateways:
    """The fleet's gateways, without the built-in ones."""

    def __init__(
        self,
        *,
        bus: Bus,
        registry: Registry,
        sessions: GatewaySessions,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self._sessions = sessions
        self._outbox = outbox
        self._clock = clock

    async def create(self, collection: Collection, change: GatewayChange) -> Gateway:
        """
        Create a gateway.

        Raises:
            NotFound: The collection was removed.
        """
        async with self._registry.lock:
            self._directory.collection(collection.id)
            gateway = Gateway(self._bus.new_id(), collection)
            change.apply_to(gateway)
            await self._registry.store.put_gateways([gateway])
            self._directory.add_gateway(gateway)
        return gateway

    async def update(self, gateway: Gateway, change: GatewayChange, *, cause: int, guard: Guard = unguarded) -> Gateway:
        """
        Change a gateway, move it, or both. A moved or disabled gateway is disconnected.

        Args:
            guard: Raises what forbids the change; called while no other change can begin.

        Raises:
            Conflict: The gateway is built in, or cannot move because devices have a block for it.
            NotFound: The gateway was removed or moved meanwhile, or the target collection was removed.
        """
        _check_own(gateway)
        collection_id = gateway.collection.id
        async with self._registry.lock:
            self._directory.gateway(collection_id, gateway.id)  # the caller may see this collection only
            guard()
            target = self._target(gateway, change)
            draft = dataclasses.replace(gateway, tags=dict(gateway.tags))
            change.apply_to(draft)
            draft.move_to(target)
            await self._registry.store.put_gateways([draft])
            if target is not gateway.collection:
                self._sessions.end_session(gateway, GatewayReason.GATEWAY_MOVED, cause=cause)
                self._directory.move_gateway(gateway, target)
            change.apply_to(gateway)
        if not gateway.enabled:
            self._sessions.end_session(gateway, GatewayReason.GATEWAY_DISABLED, cause=cause)
            for device in self._directory.devices_behind(gateway):
                self._outbox.review(device, cause=cause)
        elif change.changes_config():
            self._sessions.downlink.gateway_updated(gateway, cause)
        return gateway

    async def remove(self, gateway: Gateway, *, cause: int) -> None:
        """
        Remove a gateway. Devices lose their block for it, and messages of devices without another gateway fail.

        Raises:
            Conflict: The gateway is built in.
            NotFound: The gateway was removed or moved meanwhile.
        """
        _check_own(gateway)
        collection_id = gateway.collection.id
        async with self._registry.lock:
            self._directory.gateway(collection_id, gateway.id)
            devices = self._directory.devices_behind(gateway)
            await self._registry.store.delete_gateway(gateway.id, [_without(each, gateway) for each in devices])
            self._sessions.end_session(gateway, GatewayReason.GATEWAY_REMOVED, cause=cause)
            self._directory.remove_gateway(gateway)
            for device in devices:
                with self._directory.changing(device):
                    del device.config.gateways[gateway.id]
        for device in devices:
            self._outbox.review(device, cause=cause)
            self._bus.publish(DeviceUpdated(origin=device.origin, correlation_id=cause))

    async def flush(self) -> None:
        """
        Write the metadata that gateways reported about themselves, and tell other nodes which sessions began.

        A failed write is repeated by the next call.
        """
        changed, begun = self._sessions.take_changed(), self._sessions.take_begun()
        if not changed and not (begun and self._registry.is_shared):
            return
        try:
            await self._registry.put_reported(changed, begun)
        except BaseException:
            self._sessions.put_back(changed, begun)
            raise

    def _target(self, gateway: Gateway, change: GatewayChange) -> Collection:
        if change.collection_id is None or change.collection_id == gateway.collection.id:
            return gateway.collection
        devices = self._directory.devices_behind(gateway)
        if devices:
            named = ", ".join(render(each.id) for each in devices[:_NAMED])
            more = f" and {len(devices) - _NAMED} more" if len(devices) > _NAMED else ""
            raise Conflict(
                f"collectionId: a gateway with devices behind it cannot move; there are {named}{more}",
                hint="Remove its blocks under config.gateway of these devices first.",
                field="collectionId",
            )
        return self._directory.collection(change.collection_id)


def _check_own(gateway: Gateway) -> None:
    if gateway.built_in:
        raise Conflict(
            f"Gateway {render(gateway.id)} is built in: it can neither be changed nor removed",
            hint="Create a gateway of your own; it can have any type but ciot and inet.",
        )


def _without(device: Device, gateway: Gateway) -> Device:
    """Return a copy of a device for the store, without its block for a gateway."""
    blocks = {each: params for each, params in device.config.gateways.items() if each != gateway.id}
    return dataclasses.replace(device, config=dataclasses.replace(device.config, gateways=blocks))
