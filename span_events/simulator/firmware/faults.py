"""Faults of firmware updates: downloads that stop, versions that do not stay, reports that break off."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from span_events.simulator.firmware.device import Ended, Mishap, UpdatingDevice
from span_events.simulator.scene import Fault, Scene


async def stalled_download(scene: Scene) -> str:
    """A device that stops its download at 60 %, and resumes at its next turn."""
    return _told(scene, await scene.firmware.update(scene.device, Mishap.STALL))


async def reverted_update(scene: Scene) -> str:
    """A device that downloads its update to the end, and then reports its old version again."""
    return _told(scene, await scene.firmware.update(scene.device, Mishap.REVERT))


async def truncated_report(scene: Scene) -> str:
    """A firmware report that is cut off in its last field; the reply is 4.00."""
    device = scene.device
    with device.aside(), UpdatingDevice(device.address, scene.coap, timing=scene.timing) as endpoint:
        return _told(scene, await endpoint.update(Mishap.TRUNCATED_REPORT))


UPDATE_FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {Mishap.STALL.value: stalled_download, Mishap.REVERT.value: reverted_update}
)
"""Faults of an update; they need a waiting update."""
FIRMWARE_FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {**UPDATE_FAULTS, Mishap.TRUNCATED_REPORT.value: truncated_report}
)


def _told(scene: Scene, ended: Ended) -> str:
    return f"{scene.device.address} {ended.outcome.value}: {ended.detail}"
