"""``tail``: events as they happen, as a table for people or as lines for programs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

import click

from span_events import ids
from span_events.cli.options import Command, Reference, Session, WholeNumber, api_options, pass_session
from span_events.cli.output import printable, use_colours, write_octets
from span_events.cli.resources.common import collection_path, device_path
from span_events.client.api import Client
from span_events.client.stream import DROPPED, Line, Stream
from span_events.errors import InvalidRequest, SpanEventsError
from span_events.events.activity import Severity

_STYLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow"},
    "info": {"fg": "green"},
    "debug": {"dim": True},
}
_WANT_HINT: Final = ("warning", "error")
_ID_WIDTH: Final = 14
_WIDEST_NAME: Final = 24
_REMEMBERED_NAMES: Final = 512
"""Upper bound of devices whose names are looked up; for further ones only ids are shown, which costs no request."""
_LOOKUP_TIMEOUT: Final = 1.0
"""Seconds that a line waits for the name of its device."""


@click.command(cls=Command)
@click.option(
    "-c",
    "--collection",
    type=Reference("collection"),
    envvar="SPAN_COLLECTION_ID",
    help="Only this collection and, dimmed, events of no collection; without it all that your token may read. "
    "[env: SPAN_COLLECTION_ID]",
)
@click.option("-d", "--device", type=Reference("device"), help="Only this device.")
@click.option("-g", "--gateway", type=Reference("gateway"), help="Only this gateway.")
@click.option(
    "-e",
    "--event",
    "events",
    multiple=True,
    metavar="NAME|/REGEX/",
    help="Only events of this name, or whose names match; may be repeated. `span-events events` lists them.",
)
@click.option(
    "-s",
    "--severity",
    type=click.Choice([each.word for each in Severity][::-1]),
    help="Only events at least this severe.",
)
@click.option(
    "--profile",
    type=click.Choice(["span", "extended"]),
    help="span: only the 24 events that Span has. Default: what the server is configured for.",
)
@click.option(
    "-n", "--last", type=WholeNumber(), default=0, metavar="N", help="Begin with the last N events in memory."
)
@click.option("--extended", is_flag=True, help="With --json: also id, correlationIds, severity and hint.")
@click.option("--no-reconnect", is_flag=True, help="End when the connection is lost, with a status that is not 0.")
@api_options
@pass_session
@click.pass_context
def tail(
    ctx: click.Context,
    session: Session,
    collection: str | None,
    device: str | None,
    gateway: str | None,
    events: tuple[str, ...],
    severity: str | None,
    profile: str | None,
    last: int,
    extended: bool,
    no_reconnect: bool,
) -> None:
    """
    Show events as they happen, with a hint below each warning and error.

    A device does not connect? Start `span-events tail -n 50`, let the device send, and look at messageRejected: its
    reason says why. A message from an address that no device has (unknownAddress) belongs to no collection: a token
    for / shows it beside each collection, dimmed; other tokens do not show it. Nothing at all means that nothing
    reached the server: check address, port and routing of the device.

    With --json each line is printed exactly as the server sent it; plain Span objects, or with --extended those with
    id, severity and hint. A lost connection is reopened, and the events missed meanwhile follow (as far as the
    server has them in memory; else eventsDropped reports the gap). Times are your local ones, those in JSON are UTC.

    Examples:
      span-events tail
      span-events tail -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 -n 20
      span-events tail -s warning
      span-events tail -e '/^client/' -e messageRejected --json | jq .data.reason
    """
    query = [("event", each) for each in events]
    query += [(name, value) for name, value in (("severity", severity), ("profile", profile)) if value]
    if not session.as_json or extended:
        query.append(("extended", "1"))
    path, filters = _where(collection, device, gateway)
    if collection and not device and not gateway and not session.as_json:
        filters.append(("unattributed", "1"))

    async def follow() -> None:
        async with session.client() as client:
            stream = Stream(client, path, query + filters, last=last, reconnect=not no_reconnect, notify=_note)
            show = _show_json if session.as_json else Table(client, with_collection=collection is None).show
            async with aclosing(stream.lines()) as lines:
                async for line in lines:
                    await show(line)

    try:
        asyncio.run(follow())
    except InvalidRequest as exc:
        if exc.field == "tail":
            raise _too_many(exc, ctx) from exc
        raise


def _too_many(refusal: InvalidRequest, ctx: click.Context) -> click.UsageError:
    """Return the refusal of a too large --last in terms of the command line."""
    most = re.search(r"from 0 to (\d+)", refusal.detail)
    if most is None:
        return click.UsageError(f"--last: {refusal.detail.removeprefix('tail: ')}", ctx)
    return click.UsageError(f"--last: at most {most[1]} (streams.max_tail of the server)", ctx)


def _where(collection: str | None, device: str | None, gateway: str | None) -> tuple[str, list[tuple[str, str]]]:
    """Return the path of a stream and the filters that its path cannot say."""
    if collection is None:
        wanted = (("device", device), ("gateway", gateway))
        return "/span/activity", [(name, value) for name, value in wanted if value]
    if device is not None:
        return f"{device_path(collection, device)}/activity", [("gateway", gateway)] if gateway else []
    if gateway is not None:
        return f"{collection_path(collection)}/gateways/{gateway}/activity", []
    return f"{collection_path(collection)}/activity", []


def _note(sentence: str) -> None:
    click.secho(f"-- {sentence}", err=True, dim=True)


async def _show_json(line: Line) -> None:
    write_octets(line.octets)
    if line.document.get("event") == DROPPED:
        _note(f"EVENTS ARE MISSING HERE: {_data_text(line.document)}")


class Table:
    """Writes events as aligned, coloured lines. Everything that a device chose is shown harmlessly."""

    def __init__(self, client: Client, *, with_collection: bool) -> None:
        self._names = Names(client)
        self._with_collection = with_collection
        self._colours = use_colours()
        self._name_width = 0
        self._event_width = 18
        self._date = datetime.now().astimezone().date()

    async def show(self, line: Line) -> None:
        """Print one event."""
        document = line.document
        collection, device = str(document.get("collectionId") or ""), str(document.get("deviceId") or "")
        name = await self._names.find(collection, device, event=str(document.get("event")))
        click.echo(self._row(document, device, name), color=self._colours)

    def _row(self, document: Mapping[str, Any], device: str, name: str) -> str:
        severity, event = str(document.get("severity") or "info"), printable(str(document.get("event") or "?"))
        style = _STYLES.get(severity, {})
        gateway = str(document.get("gatewayId") or "")
        if not device and gateway:
            device, name, gateway = gateway, "gateway", ""
        name = printable(name)[:_WIDEST_NAME]
        self._name_width = max(self._name_width, len(name))
        self._event_width = max(self._event_width, len(event))
        moment, precise = _moment(document)
        clock = moment.strftime("%H:%M:%S.%f")[:-3] if precise else moment.strftime("%H:%M:%S")
        before = [f"{clock:12}", f"{severity:7}", f"{printable(device) or '-':{_ID_WIDTH}}"]
        if self._name_width:
            before.append(f"{name:{self._name_width}}")
        indent = " " * (sum(len(each) + 2 for each in before))
        parts = [click.style(before[0], dim=True), click.style(before[1], **style), *before[2:]]
        parts.append(click.style(f"{event:{self._event_width}}", **style))
        parts.append(_data_text(document))
        rest = [f"gateway={printable(gateway)}"] if gateway else []
        if self._with_collection and document.get("collectionId"):
            rest.append(f"collection={printable(str(document['collectionId']))}")
        parts.append(click.style(" ".join(rest), dim=True) if rest else "")
        row = "  ".join(each for each in parts if each).rstrip()
        if event == DROPPED:
            row = click.style(
                f"{clock:12}  EVENTS ARE MISSING HERE: {_data_text(document)}", fg="red", bold=True, reverse=True
            )
        hint = str(document.get("hint") or "")
        if not self._with_collection and not document.get("collectionId"):
            row = click.style(click.unstyle(row), dim=True)
        if hint and severity in _WANT_HINT:
            row += "\n" + click.style(f"{indent}→ {printable(hint)}", dim=True)
        if moment.date() != self._date:
            self._date = moment.date()
            row = click.style(f"-- {self._date}", dim=True) + "\n" + row
        return row


class Names:
    """The tag ``name`` of devices, as far as the token may read it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, str] = {}
        self._give_up = False

    async def find(self, collection: str, device: str, *, event: str) -> str:
        """Return the name of a device; empty if it has none, or if it cannot be asked for."""
        if event in {"deviceUpdated", "deviceMoved"}:
            self._known.pop(device, None)
        if not device or not collection or event == "deviceRemoved":
            return self._known.get(device, "")
        if device not in self._known and not self._give_up and len(self._known) < _REMEMBERED_NAMES:
            self._known[device] = await self._ask(collection, device)
        return self._known.get(device, "")

    async def _ask(self, collection: str, device: str) -> str:
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT):
                document = await self._client.request("GET", device_path(collection, device))
        except TimeoutError:
            self._give_up = True  # names are not worth a stream that lags behind
            return ""
        except SpanEventsError:
            return ""
        return str((document.get("tags") or {}).get("name") or "")


def _data_text(document: Mapping[str, Any]) -> str:
    """Write data as ``key=value``, the reason first: readers look for it."""
    data = document.get("data")
    if not isinstance(data, Mapping):
        return ""
    keys = sorted(data, key=lambda each: (each != "reason", each))
    return " ".join(f"{printable(key)}={_value_text(str(data[key]))}" for key in keys)


def _value_text(value: str) -> str:
    text = printable(value)
    return f'"{text}"' if " " in text or not text else text


def _moment(document: Mapping[str, Any]) -> tuple[datetime, bool]:
    """Return the local time of an event, and whether its milliseconds are known."""
    try:
        milliseconds = ids.unix_ms(ids.parse(str(document["id"])))
        return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone(), True
    except (KeyError, InvalidRequest):
        pass
    try:
        return datetime.fromisoformat(f"{document.get('time')}+00:00").astimezone(), False
    except ValueError:
        return datetime.now().astimezone(), False
