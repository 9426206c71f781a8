"""``simulate chirpstack``: a ChirpStack server that reports its devices' events to a running server."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

import click

from span_events.cli.options import Command, Session, api_options, pass_session
from span_events.cli.output import printable
from span_events.cli.resources.common import collection_path
from span_events.cli.simulate import progress
from span_events.cli.simulate.created_meters import CreatedMeters
from span_events.cli.simulate.running import (
    cleanup_option,
    collection_option,
    duration_option,
    fault_pause_option,
    play,
    rate_option,
    run,
)
from span_events.dialects.chirpstack.rules import Kind
from span_events.simulator.chirpstack.faults import CHIRPSTACK_FAULTS, meaning_of, run_with_faults
from span_events.simulator.chirpstack.network import SimulatedNetwork


@click.command(
    "chirpstack",
    cls=Command,
    short_help="Let a simulated ChirpStack server report events.",
    epilog="\b\nFaults:\n" + "\n".join(f"  {name:18} {meaning_of(name)}" for name in CHIRPSTACK_FAULTS),
)
@collection_option
@click.option("--devices", "count", type=click.IntRange(1), default=2, show_default=True, help="How many devices.")
@rate_option
@click.option(
    "--fault", "faults", multiple=True, type=click.Choice(list(CHIRPSTACK_FAULTS)), help="Report this; may be repeated."
)
@fault_pause_option
@duration_option
@cleanup_option
@api_options
@pass_session
def simulate_chirpstack(
    session: Session,
    collection: str | None,
    count: int,
    rate: float,
    faults: tuple[str, ...],
    fault_pause: float,
    duration: float | None,
    cleanup: bool,
) -> None:
    """
    Let a simulated ChirpStack server report the events of LoRaWAN devices over HTTP.

    The devices are made through the API (tags devEui, and simulated=true); those that are there already are used
    again. They stay until a run with --cleanup ends, also by Ctrl-C. Watch it with `span-events tail` in another
    terminal.

    Examples:
      span-events simulate chirpstack
      span-events simulate chirpstack --devices 20 --rate 5 --duration 60 --cleanup
      span-events simulate chirpstack --fault wrongKey --fault tooLate --fault-pause 20
    """
    run(
        _simulate(
            session,
            collection or "",
            count,
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
    *,
    rate: float,
    faults: Sequence[str],
    fault_pause: float,
    duration: float | None,
    cleanup: bool,
) -> None:
    async with session.client() as client:
        made = CreatedMeters(client, collection)
        try:
            devices = await made.make(count)
            path = f"{collection_path(made.collection)}/chirpstack"

            async def deliver(kind: Kind, document: dict[str, Any]) -> str:
                return str((await client.request("POST", path, document, query={"event": kind})).get("result"))

            progress.note(
                f"{progress.devices(len(devices))} in collection {made.collection}; "
                f"watch with `span-events tail -c {made.collection}`; Ctrl-C stops"
            )
            network = SimulatedNetwork(devices, deliver, rate=rate, tell=_tell)
            began = monotonic()
            try:
                await play(
                    run_with_faults(network, faults, pause=fault_pause, tell=_tell), network.statistics, duration
                )
            finally:
                progress.show_summary(session, network.statistics, monotonic() - began)
        finally:
            if cleanup:
                await made.delete()
            elif made.ours:
                progress.note(f"left {progress.devices(len(made.ours))} in {made.collection} (--cleanup deletes them)")


def _tell(word: str, sentence: str) -> None:
    progress.note(f"{word}: {printable(sentence)}")
