"""Look-ups of devices by the identities and addresses of a mobile network."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.errors import Conflict
from span_events.registry.directory import Directory
from span_events.registry.model import CiotMetadata, Collection, Device, DeviceConfig

IMEI = "356938035643809"
PREFIX = "2001:db8:1:2::/64"


@pytest.fixture
def directory() -> Directory:
    opened = Directory()
    opened.add_collection(Collection(1))
    return opened


def added(directory: Directory, number: int, **what: Any) -> Device:
    """Take in a device."""
    device = Device(number, directory.collections[1], **what)
    directory.add(device)
    return device


@pytest.mark.parametrize("configured", [IMEI, "35693803564380", "3569380356438001"])
@pytest.mark.parametrize("seen", [IMEI, "35693803564380", "3569380356438099", "356938035643800"])
def test_hardware_is_found_in_every_form(directory: Directory, configured: str, seen: str) -> None:
    """Neither a check digit nor the version of the software names it."""
    device = added(directory, 2, config=DeviceConfig(imei=configured))

    assert directory.device_with_imei(seen) is device
    assert directory.device_with_imei("356938035643819") is None
    assert directory.device_with_imei("") is None


def test_two_devices_cannot_have_the_same_hardware_in_two_forms(directory: Directory) -> None:
    """A device may write its own IMEI in another form."""
    owner = added(directory, 2, config=DeviceConfig(imei=IMEI))
    for number, conflicts in ((2, False), (3, True)):
        draft = Device(number, owner.collection, config=DeviceConfig(imei="3569380356438001"))
        if conflicts:
            with pytest.raises(Conflict, match=r"config\.ciot\.imei: 3569380356438001 belongs to another device"):
                directory.check_identities(draft)
        else:
            directory.check_identities(draft)


def test_a_device_is_found_at_each_of_its_addresses(directory: Directory) -> None:
    """By hand, or by its attachments; when these change, the look-ups follow."""
    device = added(directory, 2, ciot=CiotMetadata(allocated_ip="10.0.0.1"), addresses=("10.0.0.2", PREFIX))
    before = [directory.device_at(each) for each in ("10.0.0.1", "10.0.0.2", "2001:db8:1:2::9")]
    with directory.changing(device):
        device.addresses = ("10.0.0.3",)
    after = [directory.device_at(each) for each in ("10.0.0.1", "10.0.0.2", "2001:db8:1:2::9", "10.0.0.3")]
    directory.remove(device)

    assert before == [device, device, device]
    assert after == [device, None, None, device]
    assert directory.device_at("10.0.0.1") is directory.device_at("10.0.0.3") is None


def test_an_address_is_reserved_whether_it_is_in_use_or_not(directory: Directory) -> None:
    """An IPv6 address with its prefix; a datagram from there still belongs to no device."""
    one = added(directory, 2, ciot=CiotMetadata(static_ip="10.0.0.1"))
    other = added(directory, 3, ciot=CiotMetadata(static_ip="2001:db8:1:2::5"))

    assert directory.device_with_static("10.0.0.1") is one
    assert directory.device_with_static("2001:db8:1:2::5") is directory.device_with_static(PREFIX) is other
    assert directory.device_with_static("") is None
    assert directory.device_at("10.0.0.1") is directory.device_at("2001:db8:1:2::5") is None


def test_an_address_is_reserved_for_one_device(directory: Directory) -> None:
    """Neighbours in a prefix do not disturb each other."""
    owner = added(directory, 2, ciot=CiotMetadata(static_ip="2001:db8:1:2::5"))
    same, neighbour = (
        Device(3, owner.collection, ciot=CiotMetadata(static_ip=each))
        for each in ("2001:db8:1:2::5", "2001:db8:1:2::6")
    )
    directory.check_identities(neighbour)
    with pytest.raises(Conflict, match=r"metadata\.ciot\.allocatedIp: 2001:db8:1:2::5 belongs to another device"):
        directory.check_identities(same)

    assert directory.device_with_static("2001:db8:1:2::5") is owner


def test_a_prefix_is_for_one_device_of_the_mobile_network(directory: Directory) -> None:
    """The mobile network assigns a whole prefix to a device; other networks may have many devices in it."""
    owner = added(directory, 2, ciot=CiotMetadata(static_ip="2001:db8:1:2::5"), config=DeviceConfig(imsi="242011"))
    in_lab, mobile = (
        Device(3, owner.collection, ciot=CiotMetadata(static_ip="2001:db8:1:2::6"), config=each)
        for each in (DeviceConfig(), DeviceConfig(imei="35693803564380"))
    )
    directory.check_identities(in_lab)
    directory.check_identities(owner)
    with pytest.raises(Conflict, match=r"metadata\.ciot\.allocatedIp: 2001:db8:1:2::/64 belongs to another device"):
        directory.check_identities(mobile)


def test_an_address_assigned_by_the_mobile_core_causes_no_conflict(directory: Directory) -> None:
    """A device may be edited while it has an address that is reserved for another one."""
    added(directory, 2, ciot=CiotMetadata(static_ip="10.0.0.1"))
    guest = added(directory, 3, ciot=CiotMetadata(allocated_ip="10.0.0.1"))
    directory.check_identities(guest)

    assert directory.device_at("10.0.0.1") is guest
