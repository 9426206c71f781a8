"""
Rights over a device beyond the reach of a token: who may set its address, its identity, and its existence.

Over plain UDP and CoAP a device is its address, so one tenant could claim the address of another's device. A token
for one device may be stored in that device, so it cannot change what identifies the device.
"""

from __future__ import annotations

from aiohttp import web

from span_events.auth import access
from span_events.errors import AccessDenied
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import CiotMetadata, Device, DeviceConfig
from span_events.web.services import SERVICES, TOKEN


def check_change(request: web.Request, change: DeviceChange, device: Device | None = None) -> None:
    """
    Make sure that the token may change these fields of a device; a field with its present value is no change.

    Args:
        device: The device as it is; None if it is to be created.

    Raises:
        AccessDenied: The token may not change one of the fields.
    """
    config, ciot = (device.config, device.ciot) if device else (DeviceConfig(), CiotMetadata())
    addresses = {
        "metadata.ciot.allocatedIp": change.allocated_ip not in (None, ciot.allocated_ip, ciot.static_ip),
        "metadata.ciot.staticIp": change.static_ip not in (None, ciot.static_ip),
    }
    identity = {
        "config.ciot.imsi": change.imsi not in (None, config.imsi),
        "config.ciot.imei": change.imei not in (None, config.imei),
        "config.gateway": any(
            params != config.gateways.get(each, {}) for each, params in (change.gateways or {}).items()
        ),
        "enabled": device is not None and change.enabled not in (None, device.enabled),
    }
    if access.is_for_one_device(request[TOKEN]):
        for field, changes in (addresses | identity).items():
            if changes:
                raise _beyond_one_device(field)
    if access.reaches_everything(request[TOKEN]) or request.app[SERVICES].config.cellular.tenants_set_addresses:
        return
    values = (change.allocated_ip, change.static_ip)
    for (field, changes), value in zip(addresses.items(), values, strict=True):
        if changes and value:  # an address may be given up
            raise AccessDenied(
                f"{field}: only a token for / may set the address of a device",
                hint="Ask who runs the server to set it, or to set cellular.tenants_set_addresses = true.",
                field=field,
            )


def check_ownership(request: web.Request, what: str) -> None:
    """
    Make sure that the token is not for this one device.

    Args:
        what: The kind of change (``the pre-shared key``), for the message.

    Raises:
        AccessDenied: It is.
    """
    if access.is_for_one_device(request[TOKEN]):
        raise _beyond_one_device(what)


def _beyond_one_device(what: str) -> AccessDenied:
    return AccessDenied(
        f"{what}: a token for one device changes its tags, firmware and outbox only",
        hint="Use a token for the device's collection or for /.",
        field=what if "." in what or what == "enabled" else "",
    )
