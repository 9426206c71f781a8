"""The index of groups by the scope of their subscribers: finds those for an event without a scan over all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from span_events.events.activity import Origin
from span_events.fanout.subscriber import Group

K = TypeVar("K")


@dataclass(slots=True)
class Index:
    """Groups of one kind of stream, keyed by the narrowest part of their scope: gateway, device, collection or none."""

    everything: list[Group] = field(default_factory=list)
    by_collection: dict[int | None, list[Group]] = field(default_factory=dict)
    by_device: dict[tuple[int | None, int | None], list[Group]] = field(default_factory=dict)
    by_gateway: dict[tuple[int | None, int | None], list[Group]] = field(default_factory=dict)

    def groups_for(self, origin: Origin) -> list[Group]:
        """Return the groups of which a scope contains an origin; twice if two of its scopes do."""
        found = self.everything
        if self.by_collection and (groups := self.by_collection.get(origin.collection_id)):
            found = found + groups if found else groups
        if self.by_device and (groups := self.by_device.get((origin.collection_id, origin.device_id))):
            found = found + groups if found else groups
        if self.by_gateway and (groups := self.by_gateway.get((origin.collection_id, origin.gateway_id))):
            found = found + groups if found else groups
        return found

    def add(self, group: Group) -> None:
        """Add a group, under each of its scopes."""
        for scope in group.scopes:
            if scope.device_id is not None:
                self.by_device.setdefault((scope.collection_id, scope.device_id), []).append(group)
            elif scope.gateway_id is not None:
                self.by_gateway.setdefault((scope.collection_id, scope.gateway_id), []).append(group)
            elif scope.collection_id is not None:
                self.by_collection.setdefault(scope.collection_id, []).append(group)
                if scope.unattributed:
                    self.by_collection.setdefault(None, []).append(group)
            else:
                self.everything.append(group)

    def remove(self, group: Group) -> None:
        """Remove a group."""
        for scope in group.scopes:
            if scope.device_id is not None:
                _discard(self.by_device, (scope.collection_id, scope.device_id), group)
            elif scope.gateway_id is not None:
                _discard(self.by_gateway, (scope.collection_id, scope.gateway_id), group)
            elif scope.collection_id is not None:
                _discard(self.by_collection, scope.collection_id, group)
                if scope.unattributed:
                    _discard(self.by_collection, None, group)
            else:
                self.everything.remove(group)


def _discard(index: dict[K, list[Group]], key: K, group: Group) -> None:
    index[key].remove(group)
    if not index[key]:
        del index[key]
