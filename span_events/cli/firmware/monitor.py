"""``firmware monitor``: the update of a fleet, as bars on a terminal and as lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import Final, Protocol, Self

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from span_events.cli.firmware.progress import EVENTS, Outcome, Progress, Update
from span_events.cli.options import Command, Reference, Session, api_options, collection_option, pass_session
from span_events.cli.output import printable, write_octets
from span_events.cli.resources.common import collection_path, device_path
from span_events.client.api import Client
from span_events.client.stream import LIVE, Line, Stream
from span_events.errors import NotFound, ServerUnreachable, Unavailable

_TICK: Final = 0.25
"""Seconds between two pictures of a terminal."""
_SNAPSHOT_PAUSE: Final = 1.0
"""Seconds between two snapshots at least: a fleet that gets a target sends many events at once."""
_FAILED: Final = 1
"""Exit status if an update has failed."""
_BAR: Final = 30
_LEAST_BAR: Final = 10
_WIDEST_NAME: Final = 24
_STYLES: Final = {Outcome.FAILED: "red", Outcome.CURRENT: "green", Outcome.UNDER_WAY: "yellow"}
_URGENCY: Final = {Outcome.FAILED: 0, Outcome.UNDER_WAY: 1, Outcome.CURRENT: 2}


@click.command("monitor", cls=Command, short_help="Watch the update of a fleet.")
@collection_option
@click.option(
    "-d",
    "--device",
    "devices",
    type=Reference("device"),
    multiple=True,
    help="Only this device; may be repeated.",
)
@click.option(
    "--until-done",
    is_flag=True,
    help="End when every device that should run an image runs it or has failed; the exit status is 1 if one failed.",
)
@api_options
@pass_session
@click.pass_context
def monitor(ctx: click.Context, session: Session, collection: str, devices: tuple[str, ...], until_done: bool) -> None:
    """
    Watch the devices whose target is another image: the download of each, and its outcome.

    On a terminal each device has a bar; elsewhere each change is a line. With --json each event is printed exactly as
    the server sent it. A device that stops half-way is TimedOut, one that comes back with its old version
    UpdateFailed; the events (`span-events tail -e '/^firmware/'`) give details.

    Examples:
      span-events firmware monitor -c 17dh0cf43jfgl8
      span-events firmware monitor -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 --until-done && echo updated
    """
    console = Console(highlight=False)
    view: View
    if session.as_json:
        view = Events()
    elif sys.stdout.isatty() and not console.is_dumb_terminal:
        view = Bars(console)
    else:
        view = Lines()
    progress = Progress(frozenset(devices))

    async def follow() -> None:
        async with session.client() as client:
            with view:
                await Monitor(client, collection, progress, view, until_done=until_done).run()

    try:
        asyncio.run(follow())
    except BaseExceptionGroup as exc:
        raise exc.exceptions[0] from exc
    counts = progress.counts()
    _note(_summary(progress))
    ctx.exit(_FAILED if counts[Outcome.FAILED] else 0)


class View(Protocol):
    """A view of an update; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def line(self, line: Line) -> None:
        """Show an event of the stream."""

    def draw(self, progress: Progress) -> None:
        """Show the state of all devices; called at every tick."""

    def note(self, sentence: str) -> None:
        """Report on the connection."""


class Monitor:
    """Follows the firmware updates of a collection and shows them."""

    def __init__(
        self,
        client: Client,
        collection: str,
        progress: Progress,
        view: View,
        *,
        until_done: bool,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._client = client
        self._collection = collection
        self._progress = progress
        self._view = view
        self._until_done = until_done
        self._now = now
        self._next_snapshot = 0.0
        self._connected = asyncio.Event()
        self._told_nothing = False

    async def run(self) -> None:
        """
        Follow the updates until cancelled, or with ``until_done`` until all are done.

        Raises:
            NotFound: No device has a target.
        """
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            await self._connected.wait()
            while True:
                await self._look()
                self._view.draw(self._progress)
                if self._until_done and self._done():
                    break
                await asyncio.sleep(_TICK)
            reading.cancel()

    async def _read(self) -> None:
        query = [("event", each) for each in EVENTS] + [("device", each) for each in sorted(self._progress.only)]
        query += [("extended", "1"), ("profile", "extended")]
        path = f"{collection_path(self._collection)}/activity"
        stream = Stream(self._client, path, query, notify=self._view.note, marks_live=True)
        async with aclosing(stream.lines()) as lines:
            async for line in lines:
                if line.document.get("type") == LIVE:
                    self._progress.stale = True  # no event reports the state before this connection
                    self._connected.set()
                else:
                    self._progress.hear(line.document)
                    self._view.line(line)

    async def _look(self) -> None:
        """Ask for a snapshot, if one is needed and the last is not too fresh."""
        if not self._progress.stale or self._now() < self._next_snapshot:
            return
        self._next_snapshot = self._now() + _SNAPSHOT_PAUSE
        self._progress.begin()
        try:
            collection = await self._client.request("GET", collection_path(self._collection))
            images = await self._client.request("GET", f"{collection_path(self._collection)}/firmware")
            devices = await self._client.request("GET", device_path(self._collection))
        except (ServerUnreachable, Unavailable):
            self._progress.stale = True  # the stream reports a lost and a restored connection
            return
        self._progress.take(collection, devices.get("devices") or (), images.get("images") or ())
        if not self._progress.updates:
            self._nothing()

    def _nothing(self) -> None:
        missing = NotFound(
            f"No device that is watched in collection {self._collection} should run an image",
            hint="`span-events firmware assign` says which should; the collection's management may be disabled.",
        )
        if self._until_done:
            raise missing
        if not self._told_nothing:
            self._told_nothing = True
            self._view.note(f"{missing.detail} yet; {missing.hint}")

    def _done(self) -> bool:
        return self._progress.taken and not self._progress.stale and not self._progress.counts()[Outcome.UNDER_WAY]


class Events:
    """Prints each event."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def line(self, line: Line) -> None:
        """Print the server's own octets."""
        write_octets(line.octets)

    def draw(self, progress: Progress) -> None:
        """Do nothing: the events are on standard output."""

    def note(self, sentence: str) -> None:
        """Print the note on standard error."""
        _note(sentence)


class Lines(Events):
    """Prints a line whenever a device's update has changed."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def line(self, line: Line) -> None:
        """Do nothing: `update` shows the new state."""

    def draw(self, progress: Progress) -> None:
        """Print the changes."""
        for update in progress.updates.values():
            text = _text(update)
            if self._shown.get(update.device) != text:
                self._shown[update.device] = text
                click.echo(f"{datetime.now().astimezone():%H:%M:%S}  {text}")


class Bars(Events):
    """Shows a bar for each device, as far as the terminal has room."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def line(self, line: Line) -> None:
        """Do nothing: `update` shows the new state."""

    def draw(self, progress: Progress) -> None:
        """Show the present picture."""
        self._live.update(picture(progress, rows=self._console.height - 2, columns=self._console.width), refresh=True)

    def note(self, sentence: str) -> None:
        """Print the note above the bars."""
        self._console.print(Text(f"-- {sentence}", style="dim"))


def picture(progress: Progress, *, rows: int, columns: int) -> RenderableType:
    """
    Draw the state of an update, a line for each device.

    Args:
        rows: Lines of the terminal; beyond them, failed devices come first and finished ones are left out.
        columns: Characters of a line; longer text is cut.
    """
    updates = list(progress.updates.values())
    if len(updates) > rows:
        updates.sort(key=lambda each: (_URGENCY[each.outcome], -(each.percent or 0)))
    shown = updates[: max(rows, 1)]
    more = f"; {len(updates) - len(shown)} more are not shown" if len(updates) > len(shown) else ""
    bar = max(_LEAST_BAR, min(_BAR, columns // 6))
    names = max((len(_name(each)) for each in shown), default=0)
    lines = [_bar_line(each, bar, names) for each in shown]
    return Group(*lines, Text(_summary(progress) + more, style="dim"))


def _bar_line(update: Update, width: int, name_width: int) -> Text:
    style, full = _STYLES[update.outcome], width * (update.percent or 0) // 100
    line = Text(f"{update.device:14}  ", no_wrap=True, overflow="ellipsis")
    line.append("━" * full, style=style)
    line.append("╌" * (width - full), style="dim")
    line.append(f"  {_percent(update):>3} %  ")
    line.append(f"{printable(update.state):12}", style=style)
    if name_width:
        line.append(f"  {_name(update):{name_width}}")
    line.append(f"  {_versions(update)}  {printable(update.message)}")
    line.rstrip()
    return line


def _summary(progress: Progress) -> str:
    counts = progress.counts()
    parts = [f"{counts[Outcome.CURRENT]} of {len(progress.updates)} run what they should"]
    parts += [f"{counts[each]} {each}" for each in (Outcome.UNDER_WAY, Outcome.FAILED) if counts[each]]
    return ", ".join(parts)


def _text(update: Update) -> str:
    name = f"{_name(update)}  " if update.name else ""
    text = f"{update.device}  {name}{_versions(update)}  {printable(update.state)}  {_percent(update)} %"
    return f"{text}  {printable(update.message)}".rstrip()


def _percent(update: Update) -> str:
    return "?" if update.percent is None else str(update.percent)


def _name(update: Update) -> str:
    return printable(update.name)[:_WIDEST_NAME]


def _versions(update: Update) -> str:
    if update.outcome is Outcome.CURRENT:
        return printable(update.version)
    return f"{printable(update.version) or '?'} → {printable(update.wanted)}"


def _note(sentence: str) -> None:
    click.secho(f"-- {sentence}", err=True, dim=True)
