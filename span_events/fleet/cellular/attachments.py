"""Who is attached to the mobile network: the open attachments, and everything that they are found by."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from span_events.registry.model import Attachment, Device
from span_events.wire import imei as hardware


class Attachments:
    """The open attachments. No two have the same session, address or prefix; who adds one sees to that."""

    def __init__(self) -> None:
        self._by_session: dict[tuple[str, str, str], Attachment] = {}
        self._by_address: dict[str, Attachment] = {}
        self._groups: dict[Hashable, dict[int, Attachment]] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._by_session)

    def __contains__(self, attachment: Attachment) -> bool:
        return self.find(attachment.nas, attachment.nas_address, attachment.session) is attachment

    @property
    def strangers(self) -> int:
        """How many are of no device."""
        return len(self._groups.get(_of_device(None), ()))

    def find(self, nas: str, nas_address: str, session: str) -> Attachment | None:
        """Return the attachment that a NAS means."""
        return self._by_session.get((nas, nas_address, session))

    def holder(self, address: str) -> Attachment | None:
        """Return who has an address, or a prefix, of which the empty one is nobody's."""
        return self._by_address.get(address)

    def of_device(self, device: Device | None) -> list[Attachment]:
        """List the attachments of a device, or those of none; oldest first."""
        return self._group(_of_device(device))

    def of_nas(self, nas: str, nas_address: str) -> list[Attachment]:
        """List the attachments that one node of a NAS tells of."""
        return self._group(("nas", nas, nas_address))

    def of_numbers(self, imsi: str, imei: str) -> list[Attachment]:
        """List the attachments with an IMSI, or with an IMEI; empty numbers are nobody's."""
        found = {each.id: each for each in self._group(("imsi", imsi))} if imsi else {}
        if imei:
            found |= {each.id: each for each in self._group(("imei", imei[: hardware.BODY]))}
        return list(found.values())

    def add(self, attachment: Attachment) -> None:
        """Take in an attachment."""
        self._by_session[attachment.nas, attachment.nas_address, attachment.session] = attachment
        self._index(attachment)

    def remove(self, attachment: Attachment) -> None:
        """Forget an attachment."""
        del self._by_session[attachment.nas, attachment.nas_address, attachment.session]
        self._unindex(attachment)

    def give(self, attachment: Attachment, device: Device | None) -> None:
        """Let an attachment be of another device, or of none."""
        self._unindex(attachment)
        attachment.device = device
        self._index(attachment)

    def number(self, attachment: Attachment, imsi: str, imei: str) -> None:
        """Give an attachment other numbers."""
        self._unindex(attachment)
        attachment.imsi, attachment.imei = imsi, imei
        self._index(attachment)

    def move(self, attachment: Attachment, address: str, prefix: str) -> None:
        """Give an attachment other addresses."""
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
