"""``simulate gateway``: a gateway with devices behind it that connects to a running server."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

import click

from span_events.cli.options import Command, Session, api_options, pass_session
from span_events.cli.output import printable
from span_events.cli.simulate import progress
from span_events.cli.simulate.created_gateway import CreatedGateway
from span_events.cli.simulate.running import (
    cleanup_option,
    collection_option,
    duration_option,
    fault_pause_option,
    play,
    rate_option,
    run,
)
from span_events.cli.simulate.targets import NameAndPort
from span_events.simulator.gateways.control_stream import Credentials
from span_events.simulator.gateways.faults import GATEWAY_FAULTS, NEED_CERTIFICATE, meaning_of, run_with_faults
from span_events.simulator.gateways.gateway import SimulatedGateway
from span_events.simulator.sockets import Address


@click.command(
    "gateway",
    cls=Command,
    short_help="Let a simulated gateway connect, and do wrong things.",
    epilog="\b\nFaults:\n" + "\n".join(f"  {name:18} {meaning_of(name)}" for name in GATEWAY_FAULTS),
)
@collection_option
@click.option(
    "--devices", "count", type=click.IntRange(1), default=2, show_default=True, help="How many devices behind it."
)
@rate_option
@click.option(
    "--fault", "faults", multiple=True, type=click.Choice(list(GATEWAY_FAULTS)), help="Provoke this; may be repeated."
)
@fault_pause_option
@duration_option
@click.option(
    "--gateways",
    "target",
    type=NameAndPort(),
    default="127.0.0.1:6674",
    show_default=True,
    help="Where gateways connect; the server's certificate must be for this host.",
)
@cleanup_option
@api_options
@pass_session
def simulate_gateway(
    session: Session,
    collection: str | None,
    count: int,
    rate: float,
    faults: tuple[str, ...],
    fault_pause: float,
    duration: float | None,
    target: Address,
    cleanup: bool,
) -> None:
    """
    Let a simulated gateway connect over mutual TLS, and send messages of the devices behind it.

    Gateway, certificate and devices are made through the API (tag simulated=true); gateway and devices that are there
    already are used again. They stay until a run with --cleanup ends, also by Ctrl-C. The private key is nowhere but in
    this process. When its stream ends, the gateway connects again after 5 s. Watch it with `span-events tail` in
    another terminal.

    Examples:
      span-events simulate gateway
      span-events simulate gateway --devices 20 --rate 5 --duration 60 --cleanup
      span-events simulate gateway --fault vanish --fault twice --fault-pause 20
    """
    run(
        _simulate(
            session,
            collection or "",
            count,
            target,
            rate=rate,
            faults=faults,
            fault_pause=fault_pause,
            duration=duration,
            cleanup=cleanup,
        )
    )


async def _simulate(
    session: Session,
    collection: str,
    count: int,
    target: Address,
    *,
    rate: float,
    faults: Sequence[str],
    fault_pause: float,
    duration: float | None,
    cleanup: bool,
) -> None:
    async with session.client() as client:
        made = CreatedGateway(client, collection)
        try:
            await made.make(count)
            credentials = await made.credentials(gatewayId=made.gateway)
            wrong = await made.credentials(deviceId=made.behind[0]) if NEED_CERTIFICATE & set(faults) else None
            progress.note(
                f"gateway {made.gateway} with {progress.devices(len(made.behind))} in collection {made.collection}; "
                f"watch with `span-events tail -c {made.collection}`; Ctrl-C stops"
            )
            gateway = SimulatedGateway(credentials, target, rate=rate, tell=_tell)
            await _run(session, gateway, faults, fault_pause, wrong, duration)
        finally:
            if cleanup:
                await made.delete()
            elif made.gateway:
                left = f"gateway {made.gateway} and {progress.devices(len(made.behind))}"
                progress.note(f"left {left} in {made.collection} (--cleanup deletes what it made)")


async def _run(
    session: Session,
    gateway: SimulatedGateway,
    faults: Sequence[str],
    fault_pause: float,
    wrong: Credentials | None,
    duration: float | None,
) -> None:
    began = monotonic()
    work = run_with_faults(gateway, faults, pause=fault_pause, tell=_tell, wrong=wrong)
    try:
        await play(work, gateway.statistics, duration)
    finally:
        if gateway.statistics.connected or not gateway.statistics.not_connected:  # else the error says all
            progress.show_summary(session, gateway.statistics, monotonic() - began)


def _tell(word: str, sentence: str) -> None:
    if word != "configured":  # there may be many
        progress.note(f"{word}: {printable(sentence)}")
