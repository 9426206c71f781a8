"""Device addresses: keeps directory and devices in step with the addresses of attachments."""

from __future__ import annotations

from span_events.clock import Clock
from span_events.events.reasons import DisconnectReason
from span_events.fleet.cellular.attachment_index import AttachmentIndex
from span_events.fleet.cellular.leases import own_lease
from span_events.fleet.devices.inbound import Reception
from span_events.registry.directory import Directory
from span_events.registry.model import Attachment, Device


class DeviceAddresses:
    """The addresses under which the directory finds devices; attachments take precedence over static addresses."""

    def __init__(self, index: AttachmentIndex, *, directory: Directory, reception: Reception, clock: Clock) -> None:
        self._index = index
        self._directory = directory
        self._reception = reception
        self._clock = clock

    def update(self, device: Device, *, is_ours: bool = True) -> None:
        """
        Set the addresses of a device, in the directory and in its document, to those of its attachments.

        Args:
            is_ours: False if another node writes the device.
        """
        if device.id not in self._directory.devices:
            return
        attachments, ciot = self._index.of_device(device), device.ciot
        latest = attachments[-1] if attachments else None
        address, prefix = (latest.address, latest.prefix) if latest else ("", "")
        allocated_at = latest.attached_ms if latest else ciot.allocated_at
        is_news = (address, prefix, allocated_at) != (ciot.allocated_ip, ciot.allocated_prefix, ciot.allocated_at)
        addresses = tuple(text for each in attachments for text in (each.address, each.prefix) if text)
        self._directory.readdress(device, address, addresses)
        ciot.allocated_prefix, ciot.allocated_at = prefix, allocated_at
        ciot.last_ip, ciot.last_prefix = address or ciot.last_ip, prefix or ciot.last_prefix
        if is_news and is_ours:
            ciot.last_update = self._clock.time_ns() // 1_000_000
            self._reception.changed(device)

    def take_from_others(self, attachment: Attachment, device: Device | None, cause: int) -> None:
        """Remove an attachment's addresses from other devices: the mobile core overrules static addresses."""
        others = self._directory.devices_in(attachment.prefix) if attachment.prefix else []
        holder = self._directory.device_at(attachment.address)
        if holder is not None:
            others.append(holder)
        for other in others:
            if other is device:
                continue
            self._directory.readdress(other, "", other.addresses)
            self._reception.changed(other)
            self._reception.sessions.address_lost(other, DisconnectReason.ADDRESS_REASSIGNED, cause=cause)

    def restore_static(self, device: Device) -> None:
        """Give a device without a SIM its static address, unless an attachment has that address."""
        ciot = device.ciot
        if device.config.is_cellular or ciot.allocated_ip == ciot.static_ip:
            return
        own = own_lease(device)
        if self._index.holder(own.address or own.prefix) is None:
            self._directory.readdress(device, ciot.static_ip, device.addresses)
            self._reception.changed(device)
