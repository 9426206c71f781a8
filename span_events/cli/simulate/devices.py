"""``simulate``: devices that speak the real protocols to a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Final

import click

from span_events.cli.options import Group, Session, api_options, pass_session
from span_events.cli.simulate import progress
from span_events.cli.simulate.chirpstack import simulate_chirpstack
from span_events.cli.simulate.created import Simulated
from span_events.cli.simulate.created_firmware import SimulatedWithFirmware
from span_events.cli.simulate.gateway import simulate_gateway
from span_events.cli.simulate.running import (
    cleanup_option,
    collection_option,
    duration_option,
    fault_pause_option,
    play,
    rate_option,
    run,
)
from span_events.cli.simulate.targets import HostAndPort, RadiusPorts, check_base, read_secret
from span_events.errors import ServerUnreachable
from span_events.events.message import Transport
from span_events.simulator.cellular.mobile_core import AttachRefused, MobileCore, MobileCoreUnanswered
from span_events.simulator.devices import Statistics, Targets
from span_events.simulator.faults import FAULTS, NEED_CORE, NEED_UPDATE, meaning_of
from span_events.simulator.firmware.updates import FIRST_VERSION
from span_events.simulator.simulation import Simulation, addresses_from
from span_events.simulator.sockets import Address
from span_events.simulator.terminals import Member

_TRANSPORTS: Final = {
    "udp": (Transport.UDP,),
    "coap": (Transport.COAP,),
    "both": (Transport.UDP, Transport.COAP),
}
_MARKS: Final = {**dict.fromkeys(NEED_CORE, "*"), **dict.fromkeys(NEED_UPDATE, "+")}
_GOODBYE: Final = 2.0
"""Limit in seconds for the mobile core's Accounting-Off at the end."""


@click.group(
    cls=Group,
    invoke_without_command=True,
    subcommand_metavar="[gateway|chirpstack ...]",
    epilog="\b\nFaults, * with --core only, + with --firmware only:\n"
    + "\n".join(f"  {name:22}{_MARKS.get(name, ' ')} {meaning_of(name)}" for name in FAULTS),
)
@collection_option
@click.option("--devices", "count", type=click.IntRange(1), default=5, show_default=True, help="How many devices.")
@rate_option
@click.option("--per-device", is_flag=True, help="--rate is meant for each device.")
@click.option(
    "--transport",
    type=click.Choice(list(_TRANSPORTS)),
    default="both",
    show_default=True,
    help="How devices send; both takes turns among them.",
)
@click.option(
    "--firmware",
    is_flag=True,
    help=f"Update the devices, one after the other: an image is uploaded, and each goes from {FIRST_VERSION} to that.",
)
@click.option(
    "--fault", "faults", multiple=True, type=click.Choice(list(FAULTS)), help="Provoke this, too; may be repeated."
)
@fault_pause_option
@duration_option
@click.option(
    "--base-address",
    default="127.78.0.1",  # the demo of `serve` has 127.77.0.1 and on
    show_default=True,
    callback=check_base,
    metavar="ADDRESS",
    help="Address of the first device; the others follow it. They must be addresses of this machine. With --core their "
    "SIMs follow from them.",
)
@click.option("--datagrams", type=HostAndPort(), default="127.0.0.1:1234", show_default=True, help="Where UDP goes.")
@click.option("--coap", type=HostAndPort(), default="127.0.0.1:5683", show_default=True, help="Where CoAP goes.")
@click.option(
    "--core",
    type=RadiusPorts(),
    help="Attach the devices over RADIUS, as a mobile core does: where authentication and accounting go; the latter "
    "to the next port if you do not say.",
)
@click.option(
    "--core-secret-file",
    "core_secret",
    type=click.Path(path_type=Path),
    callback=read_secret,
    metavar="FILE",
    help="Holds the secret that the server shares with this NAS; that of `serve --demo` is in its data directory.",
)
@cleanup_option
@api_options
@pass_session
@click.pass_context
def simulate(
    ctx: click.Context,
    session: Session,
    collection: str | None,
    count: int,
    rate: float,
    per_device: bool,
    transport: str,
    firmware: bool,
    faults: tuple[str, ...],
    fault_pause: float,
    duration: float | None,
    base_address: str,
    datagrams: Address,
    coap: Address,
    core: tuple[Address, Address] | None,
    core_secret: bytes | None,
    cleanup: bool,
) -> None:
    """
    Let simulated devices send over real UDP and CoAP sockets, each from an address of its own.

    The devices are created through the API (tag simulated=true) with the address they send from, or with --core with
    SIM and hardware, and the server gives them their addresses; existing ones are used again. They stay
    until a run with --cleanup ends, also by Ctrl-C. Watch them with `span-events tail` in another terminal; with -c it
    shows no unknownAddress, as that belongs to no collection.

    Examples:
      span-events simulate
      span-events simulate --devices 100 --rate 500 --transport udp --duration 60 --cleanup
      span-events simulate --fault malformed --fault duplicate --fault-pause 2
      span-events simulate --firmware --fault stalledDownload --fault revertedUpdate
      span-events simulate --core 127.0.0.1:1812 --core-secret-file var/radius-demo.secret --fault imsiMismatch
    """
    if ctx.invoked_subcommand is not None:
        return _check_stray(ctx, ctx.invoked_subcommand)
    try:
        addresses = addresses_from(base_address, count)
    except ValueError as exc:
        raise click.UsageError(f"{exc}: choose a lower --base-address, or fewer --devices.") from exc
    if (core is None) != (core_secret is None):
        raise click.UsageError("--core and --core-secret-file belong together.")
    kinds = _TRANSPORTS[transport]
    version = FIRST_VERSION if firmware else ""
    members = [Member(address, kinds[number % len(kinds)], version) for number, address in enumerate(addresses)]
    # Two runs have different devices, and then different mobile cores: a restart of one ends no sessions of the other.
    mobile_core = MobileCore(*core, core_secret, address=base_address) if core and core_secret else None
    fleet = Simulation(
        members,
        Targets(datagrams=datagrams, coap=coap),
        rate=rate * count if per_device else rate,
        core=mobile_core,
        faults=faults,
        fault_pause=fault_pause,
        tell=lambda name, seen: progress.note(f"{name}: {seen}"),
    )
    run(_simulate(session, collection, members, fleet, mobile_core, duration=duration, cleanup=cleanup))
    return _check_reached(fleet.statistics, members, datagrams, coap)


simulate.add_command(simulate_gateway)
simulate.add_command(simulate_chirpstack)


async def _simulate(
    session: Session,
    collection: str | None,
    members: Sequence[Member],
    fleet: Simulation,
    core: MobileCore | None,
    *,
    duration: float | None,
    cleanup: bool,
) -> None:
    with closing(fleet):
        fleet.bind()  # before any resource is created: an address may not belong to this machine
        if core is not None:
            await core.start()  # likewise, for a server that does not answer it
        async with session.client() as client:
            kind = SimulatedWithFirmware if any(each.version for each in members) else Simulated
            simulated = kind(client, collection or "", by_sim=core is not None)
            try:
                await simulated.make(members)
                where = simulated.collection
                progress.note(
                    f"{progress.devices(len(members))} in collection {where}; watch with `span-events tail -c "
                    f"{where}`, without -c also what comes from unknown addresses; Ctrl-C stops"
                )
                began = monotonic()
                try:
                    await play(fleet.run(), fleet.statistics, duration)
                finally:
                    progress.show_summary(session, fleet.statistics, monotonic() - began)
            finally:
                if core is not None:
                    await _say_goodbye(core)
                if cleanup:
                    await simulated.delete()
                elif simulated.ours:
                    left = len(simulated.ours)
                    progress.note(
                        f"left {left} simulated device{'s' if left > 1 else ''} in {simulated.collection} "
                        "(--cleanup deletes them)"
                    )


async def _say_goodbye(core: MobileCore) -> None:
    """End the sessions of the mobile core, so that the server does not wait for the devices."""
    with suppress(MobileCoreUnanswered, TimeoutError):
        async with asyncio.timeout(_GOODBYE):
            await core.stop()


def _check_stray(ctx: click.Context, command: str) -> None:
    """Refuse options of the devices' simulation before the name of another one, where they would say nothing."""
    for each in ctx.command.params:
        if each.name and ctx.get_parameter_source(each.name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{each.opts[-1]}: give the options of `simulate {command}` after its name.")


def _check_reached(statistics: Statistics, members: Sequence[Member], datagrams: Address, coap: Address) -> None:
    """Raise if no datagram of the run reached a server."""
    if statistics.not_attached and not statistics.attached:
        tries = f"{statistics.not_attached} {'try' if statistics.not_attached == 1 else 'tries'}"
        raise AttachRefused(f"No device was let in, after {tries}")
    if statistics.unreachable and not statistics.answered and not statistics.downstream:
        used = {member.transport for member in members}
        where = [
            f"{host}:{port}/udp"
            for (host, port), kind in ((datagrams, Transport.UDP), (coap, Transport.COAP))
            if kind in used
        ]
        error = ServerUnreachable(f"Nothing listens at {' or '.join(where)}")
        error.hint = (
            "Is the server's device side elsewhere? It prints its addresses at the start; see --datagrams and --coap."
        )
        raise error
