"""``simulate``: devices that speak the real protocols to a running server."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from time import monotonic
from typing import Any, Final

import click

from span_events.cli.client import Client
from span_events.cli.options import Command, Session, SpanId, api_options, pass_session
from span_events.cli.output import show_json
from span_events.cli.resources import collection_path, device_path
from span_events.errors import Conflict, ServerUnreachable
from span_events.events.message import Transport
from span_events.simulator.devices import Statistics, Targets
from span_events.simulator.faults import FAULTS, meaning_of
from span_events.simulator.fleet import Fleet, Member, addresses_from
from span_events.simulator.sockets import Address

MARK: Final = "simulated"
"""Tag (``true``) of collections and devices that this command made, and may delete again."""
_TRANSPORTS: Final = {
    "udp": (Transport.UDP,),
    "coap": (Transport.COAP,),
    "both": (Transport.UDP, Transport.COAP),
}
_REPORT_PAUSE: Final = 1.0
"""Seconds between two lines of statistics."""
_AT_ONCE: Final = 16
"""Requests to the API under way at the same time."""


class HostAndPort(click.ParamType[Address]):
    """``HOST:PORT``; the host is an IP address, so that it is clear what the devices send to."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Return host and port."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            self.fail(f"{value!r} is not an IP address and a port, such as 127.0.0.1:1234", param, ctx)
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
            self.fail(f"{port!r} is not a port: 1 to 65535", param, ctx)
        return str(address), int(port)


def _check_base(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        ipaddress.IPv4Address(value)
    except ValueError as exc:
        raise click.BadParameter(f"{value!r} is not an IPv4 address", ctx, parameter) from exc
    return value


@click.command(
    cls=Command,
    short_help="Let simulated devices send, and do wrong things.",
    epilog="\b\nFaults:\n" + "\n".join(f"  {name:22} {meaning_of(name)}" for name in FAULTS),
)
@click.option(
    "-c",
    "--collection",
    type=SpanId("collection"),
    envvar="SPAN_COLLECTION_ID",
    help="Where the devices are; without it one tagged simulated=true, made if need be. [env: SPAN_COLLECTION_ID]",
)
@click.option("--devices", "count", type=click.IntRange(1), default=5, show_default=True, help="How many devices.")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Messages a second, of all devices together.",
)
@click.option("--per-device", is_flag=True, help="--rate is meant for each device.")
@click.option(
    "--transport",
    type=click.Choice(list(_TRANSPORTS)),
    default="both",
    show_default=True,
    help="How devices send; both takes turns among them.",
)
@click.option(
    "--fault", "faults", multiple=True, type=click.Choice(list(FAULTS)), help="Provoke this, too; may be repeated."
)
@click.option(
    "--fault-pause",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Mean pause between two faults.",
)
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Stop then; else at Ctrl-C."
)
@click.option(
    "--base-address",
    default="127.78.0.1",  # the demo of `serve` has 127.77.0.1 and on
    show_default=True,
    callback=_check_base,
    metavar="ADDRESS",
    help="Address of the first device; the others follow it. They must be addresses of this machine.",
)
@click.option("--datagrams", type=HostAndPort(), default="127.0.0.1:1234", show_default=True, help="Where UDP goes.")
@click.option("--coap", type=HostAndPort(), default="127.0.0.1:5683", show_default=True, help="Where CoAP goes.")
@click.option("--cleanup", is_flag=True, help="Delete its devices at the end, and the collection if it made it.")
@api_options
@pass_session
def simulate(
    session: Session,
    collection: str | None,
    count: int,
    rate: float,
    per_device: bool,
    transport: str,
    faults: tuple[str, ...],
    fault_pause: float,
    duration: float | None,
    base_address: str,
    datagrams: Address,
    coap: Address,
    cleanup: bool,
) -> None:
    """
    Let simulated devices send over real UDP and CoAP sockets, each from an address of its own.

    The devices are created through the API (tag simulated=true) with the address they send from; those that are there
    already are used again. Watch them with `span-events tail` in another terminal.

    Examples:
      span-events simulate
      span-events simulate --devices 100 --rate 500 --transport udp --duration 60 --cleanup
      span-events simulate --fault malformed --fault duplicate --fault-pause 2
    """
    try:
        addresses = addresses_from(base_address, count)
    except ValueError as exc:
        raise click.UsageError(f"{exc}: choose a lower --base-address, or fewer --devices.") from exc
    kinds = _TRANSPORTS[transport]
    members = [(address, kinds[number % len(kinds)]) for number, address in enumerate(addresses)]
    fleet = Fleet(
        members,
        Targets(datagrams=datagrams, coap=coap),
        rate=rate * count if per_device else rate,
        faults=faults,
        fault_pause=fault_pause,
        on_fault=lambda name, seen: _note(f"{name}: {seen}"),
    )
    began = monotonic()
    try:
        asyncio.run(_simulate(session, collection, members, fleet, duration=duration, cleanup=cleanup))
    finally:
        if fleet.statistics.sent:
            _show_summary(session, fleet.statistics, monotonic() - began)
    _check_reached(fleet.statistics, members, datagrams, coap)


async def _simulate(
    session: Session,
    collection: str | None,
    members: Sequence[Member],
    fleet: Fleet,
    *,
    duration: float | None,
    cleanup: bool,
) -> None:
    async with session.client() as client, _registered(client, collection, members, cleanup=cleanup) as where:
        _note(f"{len(members)} devices in collection {where}; `span-events tail -c {where}` shows them; Ctrl-C stops")
        reporter = asyncio.create_task(_report(fleet.statistics))
        try:
            async with asyncio.timeout(duration):
                await fleet.run()
        except TimeoutError:
            pass
        finally:
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)


@asynccontextmanager
async def _registered(
    client: Client, collection: str | None, members: Sequence[Member], *, cleanup: bool
) -> AsyncIterator[str]:
    """See to it that the server knows the devices; delete them afterwards if that is wanted."""
    where, made_collection = (collection, False) if collection else await _find_collection(client)
    ours: list[str] = []  # devices that this command made, now or in an earlier run

    async def create(address: str) -> None:
        device = await client.request("POST", device_path(where), _document(address))
        ours.append(str(device["deviceId"]))

    async def delete(device: str) -> None:
        await client.request("DELETE", device_path(where, device))

    try:
        missing = dict.fromkeys(address for address, _ in members)
        for device in (await client.request("GET", device_path(where))).get("devices") or ():
            address = ((device.get("metadata") or {}).get("ciot") or {}).get("allocatedIp")
            if address in missing:
                del missing[address]
                if _is_marked(device):
                    ours.append(str(device["deviceId"]))
        try:
            await _each(create, list(missing))
        except Conflict as exc:
            exc.hint = "Another collection has this address: name that collection with -c, or change --base-address."
            raise
        yield where
    finally:
        if cleanup:
            await _each(delete, ours)
            if made_collection:
                await client.request("DELETE", collection_path(where))
            _note(f"deleted {len(ours)} devices{' and the collection' if made_collection else ''}")


async def _find_collection(client: Client) -> tuple[str, bool]:
    """Return the collection of earlier runs, or a new one, and whether it is new."""
    for each in (await client.request("GET", collection_path())).get("collections") or ():
        if _is_marked(each):
            return str(each["collectionId"]), False
    made = await client.request("POST", collection_path(), {"tags": {"name": "simulator", MARK: "true"}})
    return str(made["collectionId"]), True


def _is_marked(document: Mapping[str, Any]) -> bool:
    return (document.get("tags") or {}).get(MARK) == "true"


def _document(address: str) -> dict[str, Any]:
    name = f"simulated-{'.'.join(address.split('.')[2:])}"
    return {"tags": {"name": name, MARK: "true"}, "metadata": {"ciot": {"allocatedIp": address}}}


async def _each(request: Callable[[str], Awaitable[None]], items: Sequence[str]) -> None:
    """Make a request for each item, some at a time; the first failure ends the others."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(item: str) -> None:
        async with turn:
            await request(item)

    try:
        async with asyncio.TaskGroup() as group:
            for each in items:
                group.create_task(one(each))
    except ExceptionGroup as exc:
        raise exc.exceptions[0] from None


async def _report(statistics: Statistics) -> None:
    """Keep a line with the statistics on standard error, one over the other on a terminal."""
    began, before = monotonic(), 0
    on_terminal = sys.stderr.isatty()
    while True:
        await asyncio.sleep(_REPORT_PAUSE if on_terminal else 10 * _REPORT_PAUSE)
        rate = (statistics.sent - before) / (_REPORT_PAUSE if on_terminal else 10 * _REPORT_PAUSE)
        before = statistics.sent
        line = f"{monotonic() - began:6.0f} s  {rate:.1f}/s  {_counts(statistics)}"
        click.echo(f"\r\x1b[K{line}" if on_terminal else line, err=True, nl=not on_terminal)


def _counts(statistics: Statistics) -> str:
    words = [f"sent {statistics.sent}"]
    for word, number in (
        ("answered", statistics.answered),
        ("downstream", statistics.downstream),
        ("sent again", statistics.retransmissions),
        ("unanswered", statistics.unanswered),
        ("unreachable", statistics.unreachable),
    ):
        if number:
            words.append(f"{word} {number}")
    words += [f"{code} {number}" for code, number in sorted(statistics.refused.items())]
    words += [f"{name} {number}" for name, number in sorted(statistics.faults.items())]
    return "  ".join(words)


def _show_summary(session: Session, statistics: Statistics, seconds: float) -> None:
    if session.as_json:
        return show_json({**asdict(statistics), "seconds": round(seconds, 3)})
    if sys.stderr.isatty():
        click.echo(err=True)
    return click.echo(f"{seconds:.1f} s  {statistics.sent / seconds:.1f}/s  {_counts(statistics)}")


def _check_reached(statistics: Statistics, members: Sequence[Member], datagrams: Address, coap: Address) -> None:
    """Do not let a run that reached nobody look like a success."""
    if statistics.unreachable and not statistics.answered and not statistics.downstream:
        used = {transport for _, transport in members}
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


def _note(sentence: str) -> None:
    before = "\r\x1b[K" if sys.stderr.isatty() else ""
    click.echo(f"{before}-- {sentence}", err=True)
