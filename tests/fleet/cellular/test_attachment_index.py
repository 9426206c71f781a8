"""The open attachments, and what they are found by."""

from __future__ import annotations

import pytest

from span_events.fleet.cellular.attachment_index import AttachmentIndex
from span_events.registry.model import Attachment, Collection, Device

PREFIX = "2001:db8:1:2::/64"


@pytest.fixture
def device() -> Device:
    return Device(1, Collection(2))


def attachment(number: int, device: Device | None = None, nas: str = "pgw1", address: str = "") -> Attachment:
    """Make one with numbers of its own."""
    imsi, imei = f"24201600000000{number}", f"35693803564380{number}"
    return Attachment(
        number, nas, "192.0.2.10", f"s{number}", device, 0, imsi, imei, "apn", address or f"10.0.0.{number}"
    )


def test_an_attachment_is_found_by_all_that_is_known_of_it(device: Device) -> None:
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


def test_the_same_session_of_another_node_is_another_one() -> None:
    """Each counts for itself."""
    table = AttachmentIndex()
    table.add(attachment(1))

    assert table.find("pgw1", "192.0.2.11", "s1") is None
    assert table.find("pgw2", "192.0.2.10", "s1") is None
    assert table.of_nas("pgw1", "192.0.2.11") == []


def test_nothing_is_left_of_one_that_is_removed(device: Device) -> None:
    """Not even in an index."""
    table = AttachmentIndex()
    one = attachment(1, device)
    table.add(one)
    table.remove(one)

    assert one not in table
    assert table.holder("10.0.0.1") is None
    assert table.of_device(device) == table.of_nas("pgw1", "192.0.2.10") == table.of_numbers(one.imsi, one.imei) == []
    assert (len(table), table.unassigned) == (0, 0)


def test_one_changes_hands_and_addresses(device: Device) -> None:
    """The indexes follow."""
    table = AttachmentIndex()
    one = attachment(1)
    table.add(one)
    table.assign(one, device)
    table.set_addresses(one, "10.0.0.9", PREFIX)

    assert table.of_device(device) == [one]
    assert table.of_device(None) == []
    assert table.holder("10.0.0.1") is None
    assert table.holder("10.0.0.9") is table.holder(PREFIX) is one


def test_nobody_has_an_empty_address_or_number() -> None:
    """Two that have none do not have the same."""
    table = AttachmentIndex()
    for number in (1, 2):
        one = attachment(number)
        one.address = one.imsi = one.imei = ""
        table.add(one)

    assert table.holder("") is None
    assert table.of_numbers("", "") == []
    assert len(table) == 2
