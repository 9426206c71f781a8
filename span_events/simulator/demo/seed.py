"""Seeds ``serve --demo``: a collection with devices, and a token to watch it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Final

from span_events.auth.tokens import Tokens
from span_events.dialects.chirpstack.identity import EUI_TAG, eui_of
from span_events.events.message import Transport
from span_events.fleet.collections import CollectionChange, Collections
from span_events.fleet.devices.devices import DeviceChange, Devices
from span_events.fleet.gateways.gateways import GatewayChange, Gateways
from span_events.ids import render
from span_events.registry.directory import Directory
from span_events.registry.model import Collection, Device, Gateway, GatewayType
from span_events.simulator.demo.demo import MARK, POOL
from span_events.simulator.demo.firmware import DemoFirmware
from span_events.simulator.firmware.updates import FIRST_VERSION
from span_events.simulator.terminals import Member

OWN_ADDRESS: Final = "127.0.0.1"
"""Demo device with the address 127.0.0.1: clients on this machine are identified as it."""
MEMBERS: Final = tuple(
    Member(f"127.77.0.{number}", Transport.UDP if number % 2 else Transport.COAP) for number in range(1, 7)
)
"""The simulated devices."""
GATEWAY: Final = "demo gateway"
SENSORS: Final = (("sensor-1", "0004a30b001a55e1"), ("sensor-2", "0004a30b001a55e2"))
"""Devices behind the simulated gateway: name, and devEui by which the gateway identifies each."""
METERS: Final = ("meter-1", "meter-2")
"""Devices of the simulated ChirpStack server."""
_TOKEN_NAME: Final = "demo (read-only, new at each start)"  # noqa: S105  # a name, not a secret


@dataclass(frozen=True, slots=True)
class Demo:
    """The seeded resources."""

    collection: Collection
    token: str
    """Text of a read-only token for the collection."""
    members: tuple[Member, ...]
    """The simulated devices, with their addresses in the absence of a mobile core."""
    gateway: Gateway | None
    sensors: tuple[Device, ...]
    """Devices behind the gateway."""
    meters: tuple[Device, ...]
    """Devices of the ChirpStack server."""


async def seed(
    *,
    collections: Collections,
    devices: Devices,
    gateways: Gateways | None,
    directory: Directory,
    tokens: Tokens,
    firmware: DemoFirmware | None,
    attach: bool,
    cause: int,
) -> Demo:
    """
    Find or create the demo's collection and devices, and create a new token to watch them.

    Args:
        gateways: None for no gateway.
        firmware: None for no firmware updates.
        attach: True if a mobile core gives the addresses; otherwise they are set by hand.
    """
    collection = next(
        (each for each in directory.collections.values() if MARK.items() <= each.tags.items()), None
    ) or await collections.create(CollectionChange(tags={"name": "demo", **MARK}))
    if directory.device_at(OWN_ADDRESS) is None:
        change = DeviceChange(static_ip=OWN_ADDRESS, tags={"name": "this-computer", **MARK})
        await devices.create(collection, change, cause=cause)
    members, updating = [], []
    for member in MEMBERS:
        device = _known(directory, member)
        address = _address_by_hand(directory, device, member, attach=attach)
        sim = DeviceChange(imsi=member.modem.imsi, imei=member.modem.imei, static_ip=address)
        if device is None:
            tags = {"name": f"tracker-{member.address[-1]}", **MARK}
            device = await devices.create(collection, replace(sim, tags=tags), cause=cause)
        elif not device.config.imsi and not device.config.imei:
            await devices.update(device, sim, cause=cause)
        elif address != device.ciot.static_ip:
            await devices.update(device, DeviceChange(static_ip=address), cause=cause)
        version = ""
        if firmware is not None and member.transport is Transport.COAP:
            version = device.firmware.firmware_version or FIRST_VERSION
            updating.append(device)
        members.append(replace(member, address=member.address if attach else address, version=version))
    if firmware is not None:
        await firmware.seed(collection, updating)
    gateway, sensors = None, []
    if gateways is not None:
        gateway = await _seed_gateway(gateways, directory, collection)
        sensors = await _seed_sensors(devices, directory, gateway, cause)
    meters = [await _seed_meter(devices, directory, collection, name, cause) for name in METERS]
    for token in [each for each in tokens.all() if each.name == _TOKEN_NAME]:
        await tokens.delete(token.id)
    _, text = await tokens.create(resource=f"/collections/{render(collection.id)}", write=False, name=_TOKEN_NAME)
    return Demo(collection, text, tuple(members), gateway, tuple(sensors), tuple(meters))


def _known(directory: Directory, member: Member) -> Device | None:
    """Find a simulated device by its SIM, by its hardware, or by its address as older releases made it."""
    found = directory.device_with_imsi(member.modem.imsi) or directory.device_with_imei(member.modem.imei)
    if found is not None:
        return found
    older = directory.device_with_static(member.address)
    if older is None or older.config.imsi or older.config.imei or not MARK.items() <= older.tags.items():
        return None
    return older


def _address_by_hand(directory: Directory, device: Device | None, member: Member, *, attach: bool) -> str:
    """Return the address that a simulated device is to have by hand; empty for none."""
    static, allocated = (device.ciot.static_ip, device.ciot.allocated_ip) if device is not None else ("", "")
    if attach:
        return static if static != member.address else ""  # a user set another one
    wished = (static, allocated, member.address, *map(str, IPv4Network(POOL).hosts()))
    # an address of this machine that no other device has
    return next(each for each in wished if each.startswith("127.") and directory.device_at(each) in (device, None))


async def _seed_gateway(gateways: Gateways, directory: Directory, collection: Collection) -> Gateway:
    """Find or make the simulated gateway."""
    for each in directory.gateways_of(collection.id):
        if MARK.items() <= each.tags.items():
            return each
    return await gateways.create(collection, GatewayChange(name=GATEWAY, type=GatewayType.LORA, tags=MARK))


async def _seed_sensors(devices: Devices, directory: Directory, gateway: Gateway, cause: int) -> list[Device]:
    """Find or make the devices behind the gateway."""
    known = {each.config.gateways[gateway.id].get("devEui"): each for each in directory.devices_behind(gateway)}
    sensors = []
    for name, eui in SENSORS:
        change = DeviceChange(gateways={gateway.id: {"devEui": eui}}, tags={"name": name, **MARK})
        sensors.append(known.get(eui) or await devices.create(gateway.collection, change, cause=cause))
    return sensors


async def _seed_meter(devices: Devices, directory: Directory, collection: Collection, name: str, cause: int) -> Device:
    """Find or make a device of the ChirpStack server."""
    tags = {"name": name, EUI_TAG: eui_of("demo", name), **MARK}
    for each in directory.devices_of(collection.id):
        if each.tags.get(EUI_TAG) == tags[EUI_TAG]:
            return each
    return await devices.create(collection, DeviceChange(tags=tags), cause=cause)
