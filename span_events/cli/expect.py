"""``expect``: waits for events, for test rigs with hardware in the loop."""

from __future__ import annotations

import asyncio

import click

from span_events.cli.options import Command, Duration, Reference, Session, api_options, pass_session
from span_events.cli.output import show_json
from span_events.client import NotSeen
from span_events.client import expect as wait_for


@click.command(cls=Command)
@click.argument("events", nargs=-1, required=True, metavar="EVENT...")
@click.option("-c", "--collection", type=Reference("collection"), envvar="SPAN_COLLECTION_ID", help="Only this one.")
@click.option("-d", "--device", type=Reference("device"), help="Only this device.")
@click.option("-g", "--gateway", type=Reference("gateway"), help="Only this gateway.")
@click.option("--reason", default="", help="Reason, or firmware state, of the last EVENT.")
@click.option("--not", "never", multiple=True, metavar="EVENT", help="Fail if this event comes; may be repeated.")
@click.option("--within", type=Duration(), default=60.0, help="Longest wait for all events together; default 60s.")
@click.option("--last", type=int, default=0, metavar="N", help="Begin with the last N events in memory.")
@api_options
@pass_session
@click.pass_context
def expect(
    ctx: click.Context,
    session: Session,
    events: tuple[str, ...],
    collection: str | None,
    device: str | None,
    gateway: str | None,
    reason: str,
    never: tuple[str, ...],
    within: float,
    last: int,
) -> None:
    """
    Wait for events in this order, others between them allowed, and exit with status 0.

    Exits with status 1 and shows what came instead, with hints, if they do not come in time, or if an event comes that
    --not names. The stream is open when "waiting" appears on standard error: start the device then.

    Examples:
      span-events expect clientConnected upstreamMessage -d 17kl14hm46h4c2 --within 60s
      span-events expect firmwareStateChange --reason Current --not clientRejected --within 5m
    """

    async def run() -> None:
        found = await wait_for(
            *events,
            within=within,
            reason=reason,
            never=never,
            began=lambda: click.secho("-- waiting", err=True, dim=True),
            endpoint=session.endpoint,
            token=session.token,
            collection=collection or "",
            device=device or "",
            gateway=gateway or "",
            last=last,
        )
        if session.as_json:
            show_json([dict(each.document) for each in found])
        else:
            for each in found:
                click.echo(f"{each.time.astimezone():%H:%M:%S} {each.name} {each.device_id}".rstrip())

    try:
        asyncio.run(run())
    except NotSeen as exc:
        if session.as_json:
            show_json({"missing": exc.missing, "came": [dict(each.document) for each in exc.came]})
        click.echo(str(exc), err=True)
        ctx.exit(1)
