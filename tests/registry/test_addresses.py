"""The address book: devices by address and by prefix."""

from __future__ import annotations

import pytest

from span_events.registry.addresses import AddressBook, prefix_of
from span_events.registry.model import Collection, Device

PREFIX = "2001:db8:1:2::/64"


@pytest.fixture
def devices() -> tuple[Device, Device]:
    collection = Collection(1)
    return Device(2, collection), Device(3, collection)


@pytest.mark.parametrize("host", ["2001:db8:1:2::", "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"])
def test_every_host_of_a_prefix_is_found(devices: tuple[Device, Device], host: str) -> None:
    """From the first to the last; the neighbours are not."""
    book = AddressBook()
    book[PREFIX] = devices[0]

    assert book[host] is devices[0]
    assert book["2001:db8:1:1:ffff:ffff:ffff:ffff"] is book["2001:db8:1:3::"] is None


def test_an_address_of_its_own_counts_more_than_a_prefix(devices: tuple[Device, Device]) -> None:
    """The address was assigned to the device itself."""
    book = AddressBook()
    book[PREFIX], book["2001:db8:1:2::5"] = devices

    assert book["2001:db8:1:2::5"] is devices[1]
    assert book["2001:db8:1:2::6"] is devices[0]


def test_the_hosts_of_a_prefix_are_listed(devices: tuple[Device, Device]) -> None:
    """Addresses that devices have themselves, as long as they have them."""
    book = AddressBook()
    book["2001:db8:1:2::5"], book["2001:db8:1:3::5"] = devices
    book["10.0.0.1"] = book[PREFIX] = devices[1]

    assert book.hosts_in(PREFIX) == [devices[0]]
    del book["2001:db8:1:2::5"]
    assert book.hosts_in(PREFIX) == []


def test_a_deleted_address_is_not_found(devices: tuple[Device, Device]) -> None:
    """Neither the prefix nor its hosts."""
    book = AddressBook()
    book[PREFIX] = devices[0]
    del book[PREFIX]

    assert book["2001:db8:1:2::1"] is book.get(PREFIX) is None


@pytest.mark.parametrize("address", ["", "10.0.0.1", "2001:db8:9::1", "fe80::1%eth0", "2001:db8:9::/64"])
def test_an_unassigned_address_finds_no_device(devices: tuple[Device, Device], address: str) -> None:
    """Of either family, with a zone, or empty."""
    book = AddressBook()
    book[PREFIX] = devices[0]

    assert book[address] is None


@pytest.mark.parametrize("address", ["2001:db8:1:2::5", "2001:db8:1:2:ffff::"])
def test_an_address_lies_in_its_prefix(address: str) -> None:
    """The first half of its bits."""
    assert prefix_of(address) == PREFIX
