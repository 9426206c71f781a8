"""The devices of ``serve --demo``: few and slow enough to read along, with a fault now and then."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from span_events.config import Config, NasConfig
from span_events.log import get_logger
from span_events.pki import files
from span_events.registry import location
from span_events.simulator.cellular.mobile_core import MobileCore, MobileCoreUnanswered
from span_events.simulator.devices import Targets
from span_events.simulator.faults import NEED_COAP, NEED_CORE, NEED_UPDATE
from span_events.simulator.firmware.updates import Pace
from span_events.simulator.simulation import RETRY, Simulation
from span_events.simulator.sockets import Address, reachable
from span_events.simulator.terminals import Member

MARK: Final = {"demo": "true"}
"""Tag of the demo's resources, by which later starts find them."""
RATE: Final = 1.0
"""Messages a second of all demo devices together."""
FAULT_PAUSE: Final = 12.0
"""Mean seconds between two faults."""
STEP_PAUSE: Final = 2.0
"""Seconds between the steps of one."""
FAULTS: Final = (
    *(
        *("unknownCriticalOption", "imsiMismatch", "duplicate", "detach", "unknownAddress", "malformed"),
        *("imeiMismatch", "tooLarge", "reassigned", "blockMissing", "truncatedReport"),
    )
    * 3,
    *("nasReboot", "stalledDownload"),
)
"""Faults of the demo, in turn: none that fills the screen or ends a device; faults that affect all are rare."""
PACE: Final = Pace(device=6.0, block=0.2, restart=3.0)
"""Pace of the trackers' updates: the first one is done within half a minute, with a download of 8 s."""
NAS: Final = "demo"
"""Name of the demo's NAS in the configuration."""
NAS_ADDRESS: Final = "127.77.255.254"
"""NAS-Identifier of the demo's mobile core."""
POOL: Final = "127.77.0.0/24"
"""Pool of the demo's mobile core; addresses set by hand are in `seed.MEMBERS`."""
SECRET_FILE: Final = "radius-demo.secret"  # noqa: S105  # a name, not a secret
_SECRET_OCTETS: Final = 24


def with_mobile_core(config: Config, data_dir: Path) -> Config:
    """
    Return the configuration with a NAS on this machine, and a pool for it; unchanged if there is a NAS already.

    The first start creates the secret in the data directory.

    Raises:
        StorageUnavailable: The secret cannot be written or read.
    """
    if config.radius.nas:
        return config
    location.prepare(data_dir)
    path = data_dir / SECRET_FILE
    if files.read(path) is None:
        files.create(path, f"{secrets.token_urlsafe(_SECRET_OCTETS)}\n".encode())
    loopback = (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))
    nas = NasConfig(name=NAS, addresses=loopback, secret_file=str(path))
    return config.model_copy(
        update={
            "radius": config.radius.model_copy(update={"nas": (nas,)}),
            "cellular": config.cellular.model_copy(update={"pool": (POOL,)}),
        }
    )


def secret_file_of(config: Config) -> Path | None:
    """Return where the secret of the demo's mobile core is; None if `with_mobile_core` gave it no NAS."""
    paths = [Path(each.secret_file) for each in config.radius.nas if each.name == NAS]
    return next((each for each in paths if each.name == SECRET_FILE), None)


def make_mobile_core(config: Config, authentication: Address | None, accounting: Address | None) -> MobileCore | None:
    """Make the demo's mobile core for where RADIUS is served; None if it has no NAS, or RADIUS is not served."""
    if authentication is None or accounting is None or secret_file_of(config) is None:
        return None
    secret = next(each.secret.get_secret_value() for each in config.radius.nas if each.name == NAS)
    return MobileCore(reachable(authentication), reachable(accounting), secret.encode(), address=NAS_ADDRESS, name=NAS)


async def run_demo(*, targets: Targets, members: Sequence[Member], core: MobileCore | None) -> None:
    """
    Send until cancelled. Cancelling closes every socket.

    Args:
        targets: Addresses of this server's listeners. Without CoAP, its faults are left out.
        members: The seeded devices. Those that have a version update themselves once.
        core: Mobile core that gives addresses and provokes faults; None for addresses set by hand.

    Raises:
        AddressUnavailable: A device's address is not one of this machine.
        NoTarget: The listener of a device is off.
    """
    log = get_logger("simulator.demo")
    left_out = (NEED_COAP if targets.coap is None else frozenset()) | (NEED_CORE if core is None else frozenset())
    if not any(each.version for each in members):
        left_out |= NEED_UPDATE
    fleet = Simulation(
        members,
        targets,
        rate=RATE,
        core=core,
        faults=[each for each in FAULTS if each not in left_out],
        fault_pause=FAULT_PAUSE,
        step_pause=STEP_PAUSE,
        pace=PACE,
        tell=lambda name, seen: log.debug("demo", what=name, seen=seen),
    )
    while True:
        try:
            await fleet.run()
        except MobileCoreUnanswered as exc:  # as long as the registry cannot be written, say
            log.warning("demo_waits", why=str(exc), seconds=RETRY)
            await asyncio.sleep(RETRY)
