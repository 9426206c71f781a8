"""The events that a subscriber of The Things Stack's API asked for: names, and the entities that they belong to."""

from __future__ import annotations

from dataclasses import dataclass

from span_events.dialects.things_stack.event import entities_of
from span_events.dialects.things_stack.rules import rule_of
from span_events.events.activity import Event, Origin
from span_events.events.catalogue import DeviceMoved
from span_events.events.filters import Scope


@dataclass(frozen=True, slots=True)
class EntityFilter:
    """
    Entities and names.

    An application includes its devices. A gateway's own events belong to the gateway alone, those about a message
    to the device too.

    Args:
        names: None for every name.
        devices: Collection and device.
        gateways: Collection and gateway.
    """

    applications: frozenset[int] = frozenset()
    devices: frozenset[tuple[int, int]] = frozenset()
    gateways: frozenset[tuple[int, int]] = frozenset()
    names: frozenset[str] | None = None

    def matches(self, event: Event) -> bool:
        """Return whether the event passes the filter."""
        rule, origin = rule_of(event), event.origin
        if self.names is not None and rule.name not in self.names:
            return False
        if rule.of_gateway and origin.gateway_id is not None:
            if (origin.collection_id, origin.gateway_id) in self.gateways:
                return True
            if origin.device_id is None:
                return False
        if not self._has(origin.collection_id, origin.device_id):
            return False
        if event.__class__ is not DeviceMoved:
            return True
        # A move is published in both collections: who has both gets the one of the new collection.
        target = int(event.to_collection)
        return origin.collection_id == target or not self._has(target, origin.device_id)

    def _has(self, collection: int | None, device: int | None) -> bool:
        """Return whether a device is among the devices or of one of the applications."""
        return collection in self.applications or (collection, device) in self.devices

    def hits(self, event: Event) -> list[Origin]:
        """List the requested entities to which an event belongs."""
        found = []
        for entity in entities_of(event, rule_of(event)):
            collection = entity.collection_id
            if entity.gateway_id is not None:
                if (collection, entity.gateway_id) in self.gateways:
                    found.append(entity)
                continue
            if (collection, entity.device_id) in self.devices:
                found.append(entity)
            if collection in self.applications:
                found.append(Origin(collection))
        return found

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes in which all events of the filter are."""
        return (
            *(Scope(each) for each in sorted(self.applications)),
            *(Scope(collection, device_id=device) for collection, device in sorted(self.devices)),
            *(Scope(collection, gateway_id=gateway) for collection, gateway in sorted(self.gateways)),
        )
