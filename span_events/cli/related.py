"""``related``: every event that one message, request or session caused."""

from __future__ import annotations

import click

from span_events.cli.options import Command, Session, api_options, collection_option, pass_session
from span_events.cli.output import show_json, show_table


@click.command(cls=Command)
@collection_option
@click.argument("identifier", metavar="ID")
@api_options
@pass_session
def related(session: Session, collection: str, identifier: str) -> None:
    """
    Show every event that one message, request or session caused, oldest first.

    ID is that of an event, or one of its correlation ids; `span-events tail --json` shows both. Only events that are
    still in the server's memory are found.

    Example:
      span-events related -c 17dh0cf43jfgl8 17kl14hm46h4c2
    """
    reply = session.call("GET", f"/span/collections/{collection}/related?id={identifier}")
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("TIME", "AFTER", "SEVERITY", "EVENT", "DEVICE", "DATA"),
        (
            (
                each["timestamp"],
                f"+{each['afterMs']} ms",
                each["severity"],
                each["event"],
                each.get("deviceId", ""),
                " ".join(f"{key}={value}" for key, value in each.get("data", {}).items()),
            )
            for each in reply.get("events") or ()
        ),
        nothing="No such events are in memory.",
        optional=("DATA", "SEVERITY"),
    )
