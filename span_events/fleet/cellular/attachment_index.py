"""The open attachments by session, address, device, NAS, IMSI and IMEI."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from span_events.registry.model import Attachment, Device
from span_events.wire import imei as hardware


class AttachmentIndex:
    """The open attachments. No two have the same session, address or prefix; the caller ends the older one first."""

    def __init__(self) -> None:
        self._by_session: dict[tuple[str, str, str], Attachment] = {}
        self._by_address: dict[str, Attachment] = {}
        self._groups: dict[Hashable, dict[int, Attachment]] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._by_session)

    def __iter__(self) -> Iterator[Attachment]:
        return iter(self._by_session.values())

    def __contains__(self, attachment: Attachment) -> bool:
        return self.find(attachment.nas, attachment.nas_address, attachment.session) is attachment

    @property
    def unassigned(self) -> int:
        """Number of attachments without a device."""
        return len(self._groups.get(_of_device(None), ()))

    def find(self, nas: str, nas_address: str, session: str) -> Attachment | None:
        """Return the attachment with a session identifier of one node of a NAS."""
        return self._by_session.get((nas, nas_address, session))

    def holder(self, address: str) -> Attachment | None:
        """Return the attachment with an address or prefix; None for the empty one."""
        return self._by_address.get(address)

    def of_device(self, device: Device | None) -> list[Attachment]:
        """List the attachments of a device (None: those without a device); oldest first."""
        return self._group(_of_device(device))

    def of_nas(self, nas: str, nas_address: str) -> list[Attachment]:
        """List the attachments that one node of a NAS reported."""
        return self._group(("nas", nas, nas_address))

    def of_numbers(self, imsi: str, imei: str) -> list[Attachment]:
        """List the attachments with an IMSI, and those with an IMEI; empty numbers match no attachment."""
        found = {each.id: each for each in self._group(("imsi", imsi))} if imsi else {}
        if imei:
            found |= {each.id: each for each in self._group(("imei", imei[: hardware.BODY]))}
        return list(found.values())

    def conflicting(self, attachment: Attachment, device: Device | None) -> list[Attachment]:
        """
        List the attachments that a new attachment of a device replaces.

        They have the same address, or belong to the same subscriber over the same APN. A subscriber may have
        separate IPv4 and IPv6 attachments over one APN (3GPP TS 23.401 section 5.3.1.1).
        """
        of_subscriber = self.of_numbers(attachment.imsi, "")
        if device is not None:
            of_subscriber += self.of_device(device)
        found = {each.id: each for each in of_subscriber if each.apn == attachment.apn and _compete(each, attachment)}
        for address in (attachment.address, attachment.prefix):
            holder = self.holder(address)
            if holder is not None:
                found[holder.id] = holder
        found.pop(attachment.id, None)
        return list(found.values())

    def add(self, attachment: Attachment) -> None:
        """Add an attachment."""
        self._by_session[attachment.nas, attachment.nas_address, attachment.session] = attachment
        self._index(attachment)

    def remove(self, attachment: Attachment) -> None:
        """Remove an attachment."""
        del self._by_session[attachment.nas, attachment.nas_address, attachment.session]
        self._unindex(attachment)

    def assign(self, attachment: Attachment, device: Device | None) -> None:
        """Set the device of an attachment; None for no device."""
        self._unindex(attachment)
        attachment.device = device
        self._index(attachment)

    def set_numbers(self, attachment: Attachment, imsi: str, imei: str) -> None:
        """Set IMSI and IMEI of an attachment."""
        self._unindex(attachment)
        attachment.imsi, attachment.imei = imsi, imei
        self._index(attachment)

    def set_addresses(self, attachment: Attachment, address: str, prefix: str) -> None:
        """Set address and prefix of an attachment."""
        self._unindex(attachment)
        attachment.address, attachment.prefix = address, prefix
        self._index(attachment)

    def _group(self, key: Hashable) -> list[Attachment]:
        return list(self._groups.get(key, {}).values())

    def _index(self, attachment: Attachment) -> None:
        for address in (attachment.address, attachment.prefix):
            if address:
                self._by_address[address] = attachment
        for key in _groups_of(attachment):
            self._groups.setdefault(key, {})[attachment.id] = attachment

    def _unindex(self, attachment: Attachment) -> None:
        for address in (attachment.address, attachment.prefix):
            if address:
                del self._by_address[address]
        for key in _groups_of(attachment):
            group = self._groups[key]
            del group[attachment.id]
            if not group:
                del self._groups[key]


def _of_device(device: Device | None) -> Hashable:
    return "device", device and device.id


def _groups_of(attachment: Attachment) -> Iterator[Hashable]:
    yield _of_device(attachment.device)
    yield "nas", attachment.nas, attachment.nas_address
    if attachment.imsi:
        yield "imsi", attachment.imsi
    if attachment.imei:
        yield "imei", attachment.imei[: hardware.BODY]


def _compete(one: Attachment, other: Attachment) -> bool:
    """Return True if a subscriber cannot have both attachments at the same time."""
    if not (one.shown_address and other.shown_address):
        return True
    return bool(one.address and other.address) or bool(one.prefix and other.prefix)
