"""The demo of ``serve --demo``, composed: seeds the registry and runs the simulated devices and the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from span_events.app.supervisor import Supervisor
from span_events.auth.tokens import Tokens
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import Config
from span_events.fleet.fleet import Fleet
from span_events.simulator.demo.chirpstack import run_demo_chirpstack
from span_events.simulator.demo.demo import make_mobile_core, run_demo
from span_events.simulator.demo.firmware import DemoFirmware
from span_events.simulator.demo.gateway import Keyring, run_demo_gateway
from span_events.simulator.demo.seed import Demo, seed
from span_events.simulator.devices import Targets
from span_events.simulator.sockets import reachable


async def start_demo(
    config: Config,
    *,
    bus: Bus,
    fleet: Fleet,
    tokens: Tokens,
    addresses: Mapping[str, str],
    supervisor: Supervisor,
    folder: Path,
    clock: Clock,
    cause: int,
) -> Demo:
    """
    Seed the demo and let its devices send until the supervisor closes.

    Args:
        addresses: Bound listeners, name to ``host:port``; devices whose listener is missing stay silent.
        folder: The data directory, where the demo's gateway keeps its certificate.
        cause: Correlation id of the events that seeding causes.
    """
    core = make_mobile_core(config, _target(addresses, "radius"), _target(addresses, "radius-accounting"))
    gateways = _target(addresses, "gateways")
    firmware = DemoFirmware(
        fleet.images,
        collections=fleet.collections,
        devices=fleet.devices,
        directory=fleet.directory,
        cause=cause,
    )
    demo = await seed(
        collections=fleet.collections,
        devices=fleet.devices,
        gateways=None if gateways is None else fleet.gateways,
        directory=fleet.directory,
        tokens=tokens,
        firmware=firmware if "coap" in addresses else None,
        attach=core is not None,
        cause=cause,
    )
    targets = Targets(datagrams=_target(addresses, "datagrams"), coap=_target(addresses, "coap"))
    members = [each for each in demo.members if targets.of(each.transport)]
    if members:
        supervisor.run("demo", partial(run_demo, targets=targets, members=members, core=core))
    if gateways is not None and demo.gateway is not None:
        keyring = Keyring(folder, fleet.certificates, clock)
        work = partial(run_demo_gateway, gateway=demo.gateway, sensors=demo.sensors, keyring=keyring)
        supervisor.run("demo-gateway", partial(work, target=reachable(gateways)))
    report = partial(run_demo_chirpstack, fleet.chirpstack, bus, demo.collection, demo.meters)
    supervisor.run("demo-chirpstack", report)
    return demo


def _target(addresses: Mapping[str, str], name: str) -> tuple[str, int] | None:
    """Return the address of a bound listener; None if the listener is off."""
    if name not in addresses:
        return None
    host, _, port = addresses[name].rpartition(":")
    return host.strip("[]"), int(port)
