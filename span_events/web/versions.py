"""
Versions: the ETag of a collection, device or gateway, and If-Match of a change (RFC 9110 8.8.3 and 13.1.1).

A version covers what clients can set, not what devices and networks report: a device that sends every second can still
be changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import orjson
from aiohttp import web

from span_events.errors import PreconditionFailed
from span_events.registry.model import Collection, Device, Gateway

Versioned = Collection | Device | Gateway
_OCTETS: Final = 9


def etag_of(value: Versioned) -> str:
    """Return the ETag of a resource, quotes included."""
    settable = orjson.dumps(_settable(value), option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return f'"{hashlib.blake2b(settable, digest_size=_OCTETS).hexdigest()}"'


def guard_of(request: web.Request, value: Versioned) -> Callable[[], None]:
    """
    Return the check that a change runs while it holds the registry.

    The check raises `PreconditionFailed` if the resource has a version other than If-Match names.
    """
    lines = request.headers.getall("If-Match", [])
    wanted = [each.strip() for line in lines for each in line.split(",")]

    def check() -> None:
        if wanted and "*" not in wanted and etag_of(value) not in wanted:
            raise PreconditionFailed(
                f"If-Match names another version; the present one is {etag_of(value)}",
                hint="Someone else changed it: get it again, and repeat the change with its ETag.",
            )

    return check


def _settable(value: Versioned) -> list[object]:
    if isinstance(value, Collection):
        firmware = value.firmware
        images = [firmware.current_firmware_id, firmware.target_firmware_id, firmware.management]
        return [value.team_id, value.enabled, value.tags, *images]
    common: list[object] = [value.collection.id, value.enabled, value.tags]
    if isinstance(value, Gateway):
        return [*common, value.name, value.type, value.params]
    config = value.config
    identity = [config.imsi, config.imei, config.gateways, value.ciot.static_ip]
    return [*common, *identity, value.firmware.target_firmware_id]
