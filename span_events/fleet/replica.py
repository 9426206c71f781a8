"""
Replica: shows in this node's directory what other nodes wrote to a shared registry.

The node that makes a change publishes its events. Here the objects of the directory change in place, and the parts that
hold connections react: sessions end, gateways get their configuration, outputs start and stop.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

from span_events.bus.base import Bus
from span_events.events.reasons import DisconnectReason, GatewayReason
from span_events.fleet.cellular.attach import Cellular
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.fleet.gateways.sessions import GatewaySessions
from span_events.net import host_of
from span_events.registry.contents import Contents
from span_events.registry.directory import Directory
from span_events.registry.model import (
    Attachment,
    Certificate,
    Collection,
    Device,
    Downstream,
    FirmwareMetadata,
    Gateway,
    Reservation,
)
from span_events.registry.outputs import Output
from span_events.registry.shared.follower import Removed

Moved = dict[Device, tuple[str, str]]
"""Transport and address of the newer session that a device has at another node."""


class Replica:
    """
    Shows changes of other nodes. Showing one again changes nothing.

    Other parts put functions into the lists ``on_…``, which are called after the directory has changed.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        directory: Directory,
        reception: Reception,
        outbox: Outbox,
        gateway_sessions: GatewaySessions,
        cellular: Cellular,
    ) -> None:
        self._bus = bus
        self._directory = directory
        self._reception = reception
        self._outbox = outbox
        self._gateway_sessions = gateway_sessions
        self._cellular = cellular
        self.on_collection_updated: list[Callable[[Collection, CollectionChange, int], None]] = []
        self.on_device_created: list[Callable[[Device, int], None]] = []
        self.on_device_updated: list[Callable[[Device, DeviceChange, int], None]] = []
        self.on_device_removed: list[Callable[[Device, int], None]] = []
        self.on_firmware_shown: list[Callable[[Device], None]] = []
        """Called when another node has seen newer activity of a device's firmware."""
        self.on_psk_changed: list[Callable[[Device], None]] = []
        self.on_revoked: list[Callable[[int], None]] = []
        self.on_warned: list[Callable[[int], None]] = []
        """Called with the serial number of a certificate of which another node has warned."""
        self.on_output_changed: list[Callable[[Output], None]] = []
        self.on_output_removed: list[Callable[[Output], None]] = []

    def show(self, contents: Contents, removed: Removed) -> None:
        """Show rows, also unchanged ones, and remove others; the parts that hold connections react."""
        cause, directory, moved = self._bus.new_id(), self._directory, Moved()
        for collection in contents.collections:
            self._show_collection(collection, cause)
        for gateway in contents.gateways:
            self._show_gateway(gateway, cause)
        for device in contents.devices:
            self._show_device(device, moved, cause)
        self._reception.sessions.moved(moved)
        for certificate in contents.certificates:
            self._show_certificate(certificate)
        for image in contents.images:
            directory.images.put(image)
        for blob in contents.blobs:
            directory.blobs.put(blob)
        for output in contents.outputs:
            self._show_output(output)
        self._remove(removed, cause)

    def show_activity(self, contents: Contents) -> None:
        """Show the activity of devices and gateways, if it is newer."""
        moved = Moved()
        for seen in contents.devices:
            device = self._directory.devices.get(seen.id)
            if device is not None:
                if seen.ciot.allocated_ip == device.ciot.allocated_ip:
                    self._show_newer(device, seen, moved)
                else:
                    with self._directory.changing(device):
                        self._show_newer(device, seen, moved)
        self._reception.sessions.moved(moved)
        for reported in contents.gateways:
            gateway = self._directory.gateways.get(reported.id)
            if gateway is not None and reported.reported_ms >= gateway.reported_ms:
                gateway.reported, gateway.reported_ms = reported.reported, reported.reported_ms

    def show_messages(self, found: list[Downstream], ids: AbstractSet[int]) -> None:
        """Show downstream messages; those of ``ids`` that were not found are deleted."""
        self._outbox.show(found, ids, cause=self._bus.new_id())

    def show_cellular(
        self,
        attachments: list[Attachment],
        reservations: list[Reservation],
        ids: AbstractSet[int],
        addresses: AbstractSet[str],
    ) -> None:
        """Show attachments and reservations; those of ``ids`` and ``addresses`` that were not found have ended."""
        self._cellular.show(attachments, reservations, ids, addresses, cause=self._bus.new_id())

    def end_older(self, begun: AbstractSet[str]) -> None:
        """End the sessions of gateways that began a newer one at another node; each text holds gateway and session."""
        for each in begun:
            gateway_id, session_id = map(int, each.split())
            self._gateway_sessions.began_elsewhere(gateway_id, session_id)

    def warned(self, serials: AbstractSet[str]) -> None:
        """Note the certificates of which another node has warned."""
        for each in serials:
            for notify in self.on_warned:
                notify(int(each))

    @property
    def cellular_lock(self) -> asyncio.Lock:
        """Held while attachments and reservations are written, or read and shown."""
        return self._cellular.lock

    def cellular_keys(self) -> tuple[set[int], set[str]]:
        """Return the ids of the attachments, and the addresses of the reservations, that this node shows."""
        return self._cellular.keys()

    def message_ids(self) -> set[int]:
        """Return the ids of the downstream messages that this node shows."""
        return self._outbox.ids()

    def _show_collection(self, seen: Collection, cause: int) -> None:
        collection = self._directory.collections.get(seen.id)
        if collection is None:
            self._directory.add_collection(seen)
            return
        was_enabled = collection.enabled
        collection.team_id, collection.tags, collection.enabled = seen.team_id, seen.tags, seen.enabled
        _copy(collection.firmware, seen.firmware)
        change = CollectionChange(enabled=seen.enabled if seen.enabled != was_enabled else None)
        for notify in self.on_collection_updated:
            notify(collection, change, cause)

    def _show_gateway(self, seen: Gateway, cause: int) -> None:
        directory, sessions = self._directory, self._gateway_sessions
        target = directory.collections[seen.collection.id]
        gateway = directory.gateways.get(seen.id)
        if gateway is None:
            seen.collection = target  # the directory's own object
            directory.add_gateway(seen)
            return
        is_changed = (gateway.params, gateway.tags) != (seen.params, seen.tags)
        if target is not gateway.collection:
            sessions.end_session(gateway, GatewayReason.GATEWAY_MOVED, cause=cause)
            directory.move_gateway(gateway, target)
        gateway.type, gateway.name, gateway.enabled = seen.type, seen.name, seen.enabled
        gateway.params, gateway.tags = seen.params, seen.tags
        if not gateway.enabled:
            sessions.end_session(gateway, GatewayReason.GATEWAY_DISABLED, cause=cause)
        elif is_changed:
            sessions.downlink.gateway_updated(gateway, cause)

    def _show_device(self, seen: Device, moved: Moved, cause: int) -> None:
        directory = self._directory
        target = directory.collections[seen.collection.id]
        device = directory.devices.get(seen.id)
        if device is None:
            seen.collection = target
            directory.add(seen)
            for create in self.on_device_created:
                create(seen, cause)
            return
        change = _change_of(device, seen)
        is_moved, had_psk, was_psk = target is not device.collection, device.psk is not None, device.psk
        with directory.changing(device):
            if is_moved:
                device.move_to(target)
            device.tags, device.config, device.enabled, device.psk = seen.tags, seen.config, seen.enabled, seen.psk
            self._show_newer(device, seen, moved, or_same=True)
            device.firmware.target_firmware_id = seen.firmware.target_firmware_id
            device.ciot.static_ip = seen.ciot.static_ip
        if change.enabled is False or (is_moved and not target.enabled):
            self._reception.sessions.end(device, DisconnectReason.DEVICE_DISABLED, cause)
        if had_psk and device.psk != was_psk:
            for notify in self.on_psk_changed:
                notify(device)
        if is_moved or not change.is_empty():
            for update in self.on_device_updated:
                update(device, change, cause)

    def _show_newer(self, device: Device, seen: Device, moved: Moved, *, or_same: bool = False) -> None:
        """
        Take over the activity that is newer than that of this node, but not the configuration, which may be older.

        Args:
            moved: Gets the device if its session is newer.
            or_same: Take over addresses and firmware of the same millisecond, too: a change of the configuration made
                them.
        """
        target_firmware_id, static_ip = device.firmware.target_firmware_id, device.ciot.static_ip
        if seen.last_received_ns > device.last_received_ns:
            device.last_received_ns, device.last_payload = seen.last_received_ns, seen.last_payload
            device.last_gateway_id, device.last_transport = seen.last_gateway_id, seen.last_transport
        if seen.inet.last_update > device.inet.last_update:
            moved[device] = seen.inet.transport, host_of(seen.inet.remote_address)
            _copy(device.inet, seen.inet)
        if seen.gateway.last_update > device.gateway.last_update:
            _copy(device.gateway, seen.gateway)
        if seen.ciot.last_update + or_same > device.ciot.last_update:
            _copy(device.ciot, seen.ciot)
        newer_by = _firmware_ms(seen.firmware) - _firmware_ms(device.firmware)
        if newer_by + or_same > 0:
            _copy(device.firmware, seen.firmware)
        device.firmware.target_firmware_id, device.ciot.static_ip = target_firmware_id, static_ip
        if newer_by > 0:
            for notify in self.on_firmware_shown:
                notify(device)

    def _show_certificate(self, seen: Certificate) -> None:
        known = self._directory.certificate_with(seen.serial)
        self._directory.put_certificate(seen)
        if seen.revoked_ms and known is not None and not known.revoked_ms:
            for notify in self.on_revoked:
                notify(seen.serial)

    def _show_output(self, seen: Output) -> None:
        known = self._directory.outputs.get(seen.id)
        self._directory.outputs.put(seen)
        if seen != known:
            for notify in self.on_output_changed:
                notify(seen)

    def _remove(self, removed: Removed, cause: int) -> None:
        """Remove objects and end their sessions; objects to which others refer are removed last."""
        directory = self._directory
        for output in _present(removed, "outputs", directory.outputs.get):
            directory.outputs.remove(output)
            for notify in self.on_output_removed:
                notify(output)
        for blob in _present(removed, "blobs", directory.blobs.get):
            directory.blobs.remove(blob)
        for image in _present(removed, "firmware_images", directory.images.get):
            directory.images.remove(image)
        for certificate in _present(removed, "certificates", directory.certificates.get):
            directory.remove_certificate(certificate)
        for device in _present(removed, "devices", directory.devices.get):
            directory.remove(device)
            self._reception.device_removed(device, cause=cause)
            self._outbox.forget(device)
            for remove in self.on_device_removed:
                remove(device, cause)
        for gateway in _present(removed, "gateways", directory.gateways.get):
            self._gateway_sessions.end_session(gateway, GatewayReason.GATEWAY_REMOVED, cause=cause)
            directory.remove_gateway(gateway)
        for collection in _present(removed, "collections", directory.collections.get):
            directory.remove_collection(collection)


def _present(removed: Removed, kind: str, find: Callable[[int], Any]) -> list[Any]:
    """Return the removed objects of a kind that the directory still shows."""
    return [found for each in removed.get(kind, ()) if (found := find(each)) is not None]


def _change_of(device: Device, seen: Device) -> DeviceChange:
    """Return the change that leads from a device to its new row, for the parts that react to changes."""
    old, new = device.config.gateways, seen.config.gateways
    return DeviceChange(
        tags={key: value for key, value in seen.tags.items() if device.tags.get(key) != value},
        enabled=seen.enabled if seen.enabled != device.enabled else None,
        imsi=seen.config.imsi if seen.config.imsi != device.config.imsi else None,
        imei=seen.config.imei if seen.config.imei != device.config.imei else None,
        gateways={each: new.get(each, {}) for each in old.keys() | new.keys() if old.get(each) != new.get(each)},
        static_ip=seen.ciot.static_ip if seen.ciot.static_ip != device.ciot.static_ip else None,
    )


def _firmware_ms(firmware: FirmwareMetadata) -> int:
    return max(firmware.state_ms, firmware.reported_ms, firmware.download_ms)


def _copy(target: Any, source: Any) -> None:
    """Copy every field of a dataclass, as others hold references to the target."""
    for each in dataclasses.fields(target):
        setattr(target, each.name, getattr(source, each.name))
