"""Faults of the mobile network: wrong SIMs, wrong hardware, lost sessions, and a core with a wrong secret."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from span_events.simulator.cellular.mobile_core import AttachRefused, MobileCore
from span_events.simulator.cellular.modems import Modem, foreign_modem
from span_events.simulator.scene import Fault, NotPossible, Scene


async def imsi_mismatch(scene: Scene) -> str:
    """Another SIM in the hardware of a device, which is then put right."""
    modem = scene.device.member.modem
    return await _attach_otherwise(scene, replace(modem, imsi=foreign_modem().imsi))


async def imei_mismatch(scene: Scene) -> str:
    """The SIM of a device in other hardware, which is then put right."""
    modem = scene.device.member.modem
    return await _attach_otherwise(scene, replace(modem, imei=foreign_modem().imei))


async def unknown_sim(scene: Scene) -> str:
    """A SIM and hardware that no device is configured with."""
    return await _attach(scene.mobile_core, foreign_modem())


async def detach(scene: Scene) -> str:
    """A device that is switched off, and on again."""
    device = scene.device
    before = device.address
    with device.aside():
        await device.switch_off()
        await asyncio.sleep(scene.pause)
        await device.switch_on()
        await device.report()
    return f"{before} was switched off and on, and has {device.address}"


async def reassigned(scene: Scene) -> str:
    """The address of a device is given to another one, without a word that it has become free."""
    loser, winner = scene.device, scene.neighbour
    if winner is None:
        raise NotPossible("that takes a second device that is switched on")
    address = loser.address
    with ExitStack() as stack:
        for each in (loser, winner):
            stack.enter_context(each.aside())
        loser.lose()
        await winner.switch_off()
        await winner.switch_on(choice=address)
        await winner.report()
        await asyncio.sleep(scene.pause)
        await loser.switch_on()
        await loser.report()
    return f"{address} is another device's; who had it has {loser.address}"


async def nas_reboot(scene: Scene) -> str:
    """The mobile core restarts and knows no session any more; its devices attach again one by one."""
    core = scene.mobile_core
    sessions = len(core.sessions)
    await core.restart(scene.pause)
    return f"the mobile core ended {sessions} sessions"


async def wrong_secret(scene: Scene) -> str:
    """A request of a mobile core that has another secret; nothing answers it."""
    answered = await scene.mobile_core.ask_with(secrets.token_bytes(16), scene.device.member.modem)
    return f"Access-Request with another secret: {'answered' if answered else 'no answer'}"


MOBILE_FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "imsiMismatch": imsi_mismatch,
        "imeiMismatch": imei_mismatch,
        "unknownSim": unknown_sim,
        "detach": detach,
        "reassigned": reassigned,
        "nasReboot": nas_reboot,
        "wrongSecret": wrong_secret,
    }
)


async def _attach_otherwise(scene: Scene, modem: Modem) -> str:
    """Attach a device with a foreign modem, and then with its own."""
    device = scene.device
    with device.aside():
        await device.switch_off()
        await asyncio.sleep(scene.pause)
        seen = await _attach(scene.mobile_core, modem)
        await asyncio.sleep(scene.pause)
        await device.switch_on()
        await device.report()
    return seen


async def _attach(core: MobileCore, modem: Modem) -> str:
    try:
        session = await core.attach(modem)
    except AttachRefused as exc:
        return f"IMSI {modem.imsi}, IMEI {modem.imei}: not let in ({exc})"
    await core.detach(session)
    return f"IMSI {modem.imsi}, IMEI {modem.imei}: let in with {session.address}"
