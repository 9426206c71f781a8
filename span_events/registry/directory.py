"""
The directory: every collection, device, gateway, certificate, firmware image, blob and output in memory.

Devices are found by id, address, IMSI, IMEI or PSK identity, certificates by serial number. Listeners ask
for each datagram and handshake, so every look-up of theirs is one dictionary access. It is filled from the
store at start and kept current by `fleet`, which changes the store first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from span_events.errors import Conflict, InvalidRequest, NotFound
from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.message import Transport
from span_events.ids import render
from span_events.registry.addresses import AddressBook, prefix_of
from span_events.registry.collection_index import CollectionIndex, ImageIndex
from span_events.registry.model import Blob, Certificate, Collection, Device, Gateway, GatewayType, Image
from span_events.registry.outputs import Output
from span_events.wire import imei as hardware

BUILT_IN: Final[Mapping[GatewayType, int]] = MappingProxyType({GatewayType.CIOT: 3, GatewayType.INET: 4})
"""Ids of the built-in gateways of every collection. All other ids are larger."""
_NAMES: Final[Mapping[GatewayType, str]] = MappingProxyType(
    {GatewayType.CIOT: "Mobile network", GatewayType.INET: "Internet"}
)
_OVER_CIOT: Final = (Transport.UDP, Transport.COAP, Transport.HTTP)
_WAYS: Final = {each: BUILT_IN[GatewayType.CIOT if each in _OVER_CIOT else GatewayType.INET] for each in Transport}


def built_in(transport: Transport) -> int:
    """Return the id of the built-in gateway of a transport without a gateway of its own."""
    return _WAYS[transport]


class Directory:
    """Collections, devices and gateways of this installation."""

    def __init__(self) -> None:
        self.collections: dict[int, Collection] = {}
        self.devices: dict[int, Device] = {}
        self._members: dict[int, dict[int, Device]] = {}
        self._by_address = AddressBook()
        self._by_static: dict[str, Device] = {}
        self._by_imsi: dict[str, Device] = {}
        self._by_imei: dict[str, Device] = {}
        self._by_psk: dict[bytes, Device] = {}
        self.gateways: dict[int, Gateway] = {}
        """By id, without those that are built in."""
        self._gateways_of: dict[int, dict[int, Gateway]] = {}
        self._behind: dict[int, dict[int, Device]] = {}
        self.endpoints: Mapping[GatewayType, dict[str, str]] = {
            GatewayType.CIOT: {"apn": "", "udpEndpoint": "", "coapEndpoint": ""},
            GatewayType.INET: {"dtlsEndpoint": "", "coapEndpoint": "", "mqttEndpoint": ""},
        }
        """Configuration of the built-in gateways: ``host:port`` of each listener, empty if it is off."""
        self.certificates: dict[int, Certificate] = {}
        """By serial number, including revoked certificates and those of removed owners."""
        self._certificates_of: dict[int, dict[int, Certificate]] = {}
        self.images = ImageIndex()
        """Firmware images of the collections."""
        self.blobs: CollectionIndex[Blob] = CollectionIndex("blob")
        """Blobs of the collections."""
        self.outputs: CollectionIndex[Output] = CollectionIndex("output")
        """Outputs of the collections."""
        self.device_at: Callable[[str], Device | None] = self._by_address.__getitem__
        """Return the device with an IP address (canonical text), or with its prefix; None if no device has it."""
        self.devices_in: Callable[[str], list[Device]] = self._by_address.hosts_in
        """List the devices that have an address of their own that lies in a prefix."""
        self.device_with_static = self._by_static.get
        """Find the device that an address, or a /64 prefix, is reserved for; None if it is not reserved."""
        self.device_with_imsi = self._by_imsi.get
        """Find the device that is configured with an IMSI."""
        self.device_with_psk = self._by_psk.get
        """Return the device with a PSK identity (octets); None if unknown."""
        self.certificate_with = self.certificates.get
        """Find a certificate by its serial number; None if we did not issue it, or it expired long ago."""

    def fill(
        self,
        collections: Iterable[Collection],
        devices: Iterable[Device],
        *,
        certificates: Iterable[Certificate] = (),
        gateways: Iterable[Gateway] = (),
        images: Iterable[Image] = (),
        blobs: Iterable[Blob] = (),
        outputs: Iterable[Output] = (),
    ) -> None:
        """Load the contents of the store."""
        for collection in collections:
            self.add_collection(collection)
        for gateway in gateways:
            self.add_gateway(gateway)
        for device in devices:
            self.add(device)
        for certificate in certificates:
            self.put_certificate(certificate)
        for image in images:
            self.images.put(image)
        for blob in blobs:
            self.blobs.put(blob)
        for output in outputs:
            self.outputs.put(output)

    def collection(self, collection_id: int) -> Collection:
        """
        Return a collection.

        Raises:
            NotFound: No collection has this id.
        """
        try:
            return self.collections[collection_id]
        except KeyError:
            raise NotFound(f"There is no collection {render(collection_id)}", field="collection") from None

    def device(self, collection_id: int, device_id: int) -> Device:
        """
        Return a device of a collection.

        Raises:
            NotFound: There is no such collection, or no such device in it.
        """
        self.collection(collection_id)
        try:
            return self._members[collection_id][device_id]
        except KeyError:
            raise NotFound(
                f"There is no device {render(device_id)} in collection {render(collection_id)}", field="device"
            ) from None

    def devices_of(self, collection_id: int) -> Iterator[Device]:
        """Iterate over the devices of a collection, oldest first."""
        return iter(self._members[collection_id].values())

    def device_count(self, collection_id: int) -> int:
        """Return the number of devices of a collection."""
        return len(self._members[collection_id])

    def gateway(self, collection_id: int, gateway_id: int) -> Gateway:
        """
        Return a gateway of a collection, custom or built in.

        Raises:
            NotFound: There is no such collection, or no such gateway in it.
        """
        self.collection(collection_id)
        try:
            return self._gateways_of[collection_id][gateway_id]
        except KeyError:
            raise NotFound(
                f"There is no gateway {render(gateway_id)} in collection {render(collection_id)}", field="gateway"
            ) from None

    def gateways_of(self, collection_id: int) -> Iterator[Gateway]:
        """Iterate over the gateways of a collection: first the built-in ones, then the custom ones, oldest first."""
        return iter(self._gateways_of[collection_id].values())

    def gateway_count(self, collection_id: int) -> int:
        """Return the number of custom gateways of a collection."""
        return len(self._gateways_of[collection_id]) - len(BUILT_IN)

    def way_of(self, collection: Collection, transport: Transport) -> Gateway:
        """Return the built-in gateway of a transport."""
        return self._gateways_of[collection.id][_WAYS[transport]]

    def devices_behind(self, gateway: Gateway) -> list[Device]:
        """List the devices that have a block for a gateway, oldest first."""
        behind = self._behind.get(gateway.id, {})
        return [behind[each] for each in sorted(behind)]

    def add_collection(self, collection: Collection) -> None:
        """Add a collection."""
        self.collections[collection.id] = collection
        self._members[collection.id] = {}
        self._gateways_of[collection.id] = {
            number: Gateway(number, collection, kind, _NAMES[kind], self.endpoints[kind])
            for kind, number in BUILT_IN.items()
        }

    def remove_collection(self, collection: Collection) -> None:
        """Remove a collection without devices and custom gateways."""
        assert not self._members[collection.id], "the collection still has devices"
        assert not self.gateway_count(collection.id), "the collection still has gateways"
        del self._members[collection.id], self._gateways_of[collection.id], self.collections[collection.id]

    def add_gateway(self, gateway: Gateway) -> None:
        """Add a gateway."""
        self.gateways[gateway.id] = self._gateways_of[gateway.collection.id][gateway.id] = gateway

    def remove_gateway(self, gateway: Gateway) -> None:
        """Remove a gateway."""
        del self.gateways[gateway.id], self._gateways_of[gateway.collection.id][gateway.id]

    def move_gateway(self, gateway: Gateway, collection: Collection) -> None:
        """Change the collection of a gateway."""
        self.remove_gateway(gateway)
        gateway.move_to(collection)
        self.add_gateway(gateway)

    def device_with_imei(self, imei: str) -> Device | None:
        """Find the device that is configured with an IMEI; both may be of 14, 15 or 16 digits."""
        return self._by_imei.get(imei[: hardware.BODY])

    def device_meant_for(self, address: str) -> Device | None:
        """Return the device that will get an address, or its prefix, when it attaches; None if there is none."""
        owner = self._by_static.get(address)
        if owner is None and ":" in address:
            owner = self._by_static.get(prefix_of(address))
        return owner if owner is not None and owner.config.is_cellular else None

    def check_identities(self, draft: Device) -> None:
        """
        Refuse identities of a device that another device has.

        Args:
            draft: The device with the requested changes.

        Raises:
            Conflict: Another device has it; the message says which identity.
        """
        config, ciot = draft.config, draft.ciot
        for what, value, owner in (
            ("metadata.ciot.allocatedIp", ciot.allocated_ip, self._by_address.get(ciot.allocated_ip)),
            ("metadata.ciot.allocatedIp", ciot.static_ip, self._by_static.get(ciot.static_ip)),
            ("config.ciot.imsi", config.imsi, self._by_imsi.get(config.imsi)),
            ("config.ciot.imei", config.imei, self.device_with_imei(config.imei)),
        ):
            if value and owner is not None and owner.id != draft.id:
                raise Conflict(f"{what}: {value} belongs to another device", field=what)
        if ":" in ciot.static_ip and config.is_cellular:
            prefix = prefix_of(ciot.static_ip)
            owner = self._by_static.get(prefix)
            if owner is not None and owner.config.is_cellular and owner.id != draft.id:
                field = "metadata.ciot.allocatedIp"
                raise Conflict(f"{field}: {prefix} belongs to another device with a SIM", field=field)

    def check_psk(self, device_id: int, identity: bytes) -> None:
        """
        Refuse a PSK identity that another device has.

        Raises:
            Conflict: Another device has it.
        """
        owner = self._by_psk.get(identity)
        if owner is not None and owner.id != device_id:
            raise Conflict("identity: another device has this PSK identity", field="identity")

    def add(self, device: Device) -> None:
        """Add a device."""
        self.devices[device.id] = device
        self._members[device.collection.id][device.id] = device
        self._index(device)

    def remove(self, device: Device) -> None:
        """Remove a device."""
        self._unindex(device)
        del self.devices[device.id], self._members[device.collection.id][device.id]

    def changing(self, device: Device) -> _Change:
        """Update the indexes around a change of a device's identities, gateways or collection."""
        return _Change(self, device)

    def certificates_of(self, owner_id: int) -> Iterator[Certificate]:
        """Iterate over the certificates of a device or gateway, also after its removal."""
        return iter(self._certificates_of.get(owner_id, {}).values())

    def owner_of(self, certificate: Certificate) -> Device | Gateway | None:
        """Return the owner of a certificate; None if it was removed."""
        if certificate.device_id is None:
            return self.gateways.get(certificate.owner_id)
        return self.devices.get(certificate.owner_id)

    def origin_of(self, certificate: Certificate) -> Origin:
        """Return the origin of events about a certificate: its owner, else its collection, else `UNATTRIBUTED`."""
        owner = self.owner_of(certificate)
        if owner is not None:
            return owner.origin
        if certificate.collection_id not in self.collections:
            return UNATTRIBUTED
        return Origin(certificate.collection_id, gateway_id=certificate.gateway_id)

    def put_certificate(self, certificate: Certificate) -> None:
        """Insert a certificate, new or revoked."""
        self.certificates[certificate.serial] = certificate
        self._certificates_of.setdefault(certificate.owner_id, {})[certificate.serial] = certificate

    def remove_certificate(self, certificate: Certificate) -> None:
        """Remove a certificate."""
        del self.certificates[certificate.serial]
        of_owner = self._certificates_of[certificate.owner_id]
        del of_owner[certificate.serial]
        if not of_owner:
            del self._certificates_of[certificate.owner_id]

    def readdress(self, device: Device, allocated_ip: str, addresses: tuple[str, ...]) -> None:
        """Replace the addresses of a device: `changing`, for the frequent changes of the mobile network."""
        for address in (device.ciot.allocated_ip, *device.addresses):
            if self._by_address.get(address) is device:
                del self._by_address[address]
        device.ciot.allocated_ip, device.addresses = allocated_ip, addresses
        for address in (allocated_ip, *addresses):
            if address:
                self._by_address[address] = device

    def _index(self, device: Device) -> None:
        for value, index in self._identities(device):
            if value:
                index[value] = device
        for gateway_id in device.config.gateways:
            self._behind.setdefault(gateway_id, {})[device.id] = device

    def _unindex(self, device: Device) -> None:
        for value, index in self._identities(device):
            if index.get(value) is device:
                del index[value]
        for gateway_id in device.config.gateways:
            behind = self._behind[gateway_id]
            del behind[device.id]
            if not behind:
                del self._behind[gateway_id]

    def _identities(self, device: Device) -> tuple[tuple[Any, dict[Any, Device]], ...]:
        return (
            (device.ciot.allocated_ip, self._by_address),
            *((each, self._by_address) for each in device.addresses),
            *((each, self._by_static) for each in _static(device)),
            (device.config.imsi, self._by_imsi),
            (device.config.imei[: hardware.BODY], self._by_imei),
            (device.psk and device.psk.identity, self._by_psk),
        )


def _static(device: Device) -> tuple[str, ...]:
    """Return the address reserved for a device; an IPv6 address with its prefix."""
    address = device.ciot.static_ip
    return (address, prefix_of(address)) if ":" in address else (address,)


class _Change:
    """Takes the identities of a device out of the indexes while they change."""

    def __init__(self, directory: Directory, device: Device) -> None:
        self._directory = directory
        self._device = device
        self._collection_id = device.collection.id

    def __enter__(self) -> None:
        self._directory._unindex(self._device)

    def __exit__(self, *exc: object) -> None:
        if self._device.collection.id != self._collection_id:
            del self._directory._members[self._collection_id][self._device.id]
            self._directory._members[self._device.collection.id][self._device.id] = self._device
        self._directory._index(self._device)


def canonical_address(text: str, *, field: str) -> str:
    """
    Write an IP address as sockets report it; an IPv4-mapped one becomes IPv4.

    Raises:
        InvalidRequest: The text is no IP address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidRequest(f"{field}: {text[:50]!r} is not an IPv4 or IPv6 address", field=field) from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)
