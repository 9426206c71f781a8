"""The index of open attachments."""

from __future__ import annotations

import pytest

from span_events.fleet.cellular.attachment_index import AttachmentIndex
from span_events.registry.model import Attachment, Collection, Device

PREFIX = "2001:db8:1:2::/64"


@pytest.fixture
def device() -> Device:
    return Device(1, Collection(2))


def attachment(number: int, device: Device | None = None, nas: str = "pgw1", address: str = "") -> Attachment:
    """Return an attachment with its own numbers."""
    imsi, imei = f"24201600000000{number}", f"35693803564380{number}"
    return Attachment(
        number, nas, "192.0.2.10", f"s{number}", device, 0, imsi, imei, "apn", address or f"10.0.0.{number}"
    )


def test_an_attachment_is_found_by_each_of_its_fields(device: Device) -> None:
    """Session, address, prefix, device, NAS, SIM and hardware."""
    table = AttachmentIndex()
    one, other = attachment(1, device), attachment(2, nas="pgw2")
    one.prefix = PREFIX
    table.add(one)
    table.add(other)

    assert table.find("pgw1", "192.0.2.10", "s1") is one
    assert table.holder("10.0.0.1") is table.holder(PREFIX) is one
    assert table.of_device(device) == table.of_nas("pgw1", "192.0.2.10") == [one]
    assert table.of_numbers(other.imsi, "") == [other]
    assert table.of_numbers("", "3569380356438099") == [one, other]
    assert (len(table), table.unassigned) == (2, 1)
    assert one in table


def test_the_same_session_id_of_another_node_is_another_session() -> None:
    """Each node has its own ids."""
    table = AttachmentIndex()
    table.add(attachment(1))

    assert table.find("pgw1", "192.0.2.11", "s1") is None
    assert table.find("pgw2", "192.0.2.10", "s1") is None
    assert table.of_nas("pgw1", "192.0.2.11") == []


def test_a_removed_attachment_leaves_no_index_entry(device: Device) -> None:
    """Under none of its keys."""
    table = AttachmentIndex()
    one = attachment(1, device)
    table.add(one)
    table.remove(one)

    assert one not in table
    assert table.holder("10.0.0.1") is None
    assert table.of_device(device) == table.of_nas("pgw1", "192.0.2.10") == table.of_numbers(one.imsi, one.imei) == []
    assert (len(table), table.unassigned) == (0, 0)


def test_indexes_follow_a_change_of_device_and_addresses(device: Device) -> None:
    """By device and by address."""
    table = AttachmentIndex()
    one = attachment(1)
    table.add(one)
    table.assign(one, device)
    table.set_addresses(one, "10.0.0.9", PREFIX)

    assert table.of_device(device) == [one]
    assert table.of_device(None) == []
    assert table.holder("10.0.0.1") is None
    assert table.holder("10.0.0.9") is table.holder(PREFIX) is one


def test_empty_addresses_and_numbers_are_not_indexed() -> None:
    """Two attachments without an address do not share one."""
    table = AttachmentIndex()
    for number in (1, 2):
        one = attachment(number)
        one.address = one.imsi = one.imei = ""
        table.add(one)

    assert table.holder("") is None
    assert table.of_numbers("", "") == []
    assert len(table) == 2
