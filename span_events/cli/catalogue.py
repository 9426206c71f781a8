"""``events``: the catalogue, from the package itself; needs no server."""

from __future__ import annotations

import click

from span_events.cli.options import Command, Session, json_option, pass_session
from span_events.cli.output import show_json, show_table
from span_events.errors import InvalidRequest
from span_events.events.activity import Event
from span_events.events.catalogue import CATALOGUE, KEYS, meaning_of
from span_events.events.filters import parse_filter
from span_events.events.reference import describe, severity_words


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME|/REGEX/]...")
@json_option
@pass_session
def events(session: Session, names: tuple[str, ...]) -> None:
    """
    Show the catalogue: every event, or the details of those that you name.

    Works without a server. With a single NAME: its data keys, its reasons, and the next thing to try for each.

    Examples:
      span-events events
      span-events events messageRejected
      span-events events '/^downstream/'
    """
    try:
        wanted = parse_filter(events=names).names or frozenset(CATALOGUE)
    except InvalidRequest as exc:
        if exc.hint.startswith("GET"):
            exc.hint = "`span-events events` lists all names."
        raise
    chosen = [each for name, each in CATALOGUE.items() if name in wanted]
    if session.as_json:
        return show_json([describe(each) for each in chosen])
    if len(chosen) == 1:
        return _show(chosen[0])
    return show_table(
        ("EVENT", "SEVERITY", "MEANING", "DATA"),
        (
            (each.name, severity_words(each), meaning_of(each), " ".join(key.name for key in KEYS[each]))
            for each in chosen
        ),
        nothing="There are no such events.",
    )


def _show(event: type[Event]) -> None:
    kind = "an event of span-events" if event.extension else "an event of Span"
    click.echo(f"{event.name}: {kind}, {severity_words(event)}")
    click.echo(f"  {meaning_of(event)}")
    click.echo(f"  → {event.hint}")
    keys = KEYS[event]
    if keys:
        click.echo("\nData, all values text:")
        width = max(len(each.name) for each in keys)
        for each in keys:
            click.echo(f"  {each.name:{width}}  {each.meaning}{' (may be absent)' if each.optional else ''}")
    for each in keys:
        if each.reasons is not None:
            click.echo(f"\nValues of {each.name}, and what to try:")
            width = max(len(reason) for reason in each.reasons)
            for reason in each.reasons:
                severity = "" if reason.severity is None else f" ({reason.severity.word})"
                click.echo(f"  {reason:{width}}  {reason.hint}{severity}")
