"""``simulate``: devices that speak the real protocols to a running server."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import signal
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from time import monotonic
from typing import Any, Final

import click

from span_events.cli.client import Client
from span_events.cli.options import Command, Session, SpanId, api_options, pass_session
from span_events.cli.output import show_json
from span_events.cli.resources import collection_path, device_path
from span_events.errors import Conflict, NotFound, RequestError, ServerUnreachable
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
_TERMINATED: Final = 143
"""Exit status after SIGTERM: 128 + SIGTERM."""


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
    already are used again. They stay until a run with --cleanup ends, also by Ctrl-C. Watch them with `span-events
    tail` in another terminal; with -c it shows no unknownAddress, as that belongs to no collection.

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
        _run(_simulate(session, collection, members, fleet, duration=duration, cleanup=cleanup))
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
    with closing(fleet):
        fleet.bind()  # before anything is made, for what cannot be sent from
        async with session.client() as client:
            registered = _Registered(client, collection or "")
            try:
                await registered.make([address for address, _ in members])
                where = registered.collection
                _note(
                    f"{_devices(len(members))} in collection {where}; watch with `span-events tail -c {where}`, "
                    "without -c also what comes from unknown addresses; Ctrl-C stops"
                )
                await _send(fleet, duration)
            finally:
                if cleanup:
                    await registered.delete()
                elif registered.ours:
                    left = len(registered.ours)
                    _note(
                        f"left {left} simulated device{'s' if left > 1 else ''} in {registered.collection} "
                        "(--cleanup deletes them)"
                    )


async def _send(fleet: Fleet, duration: float | None) -> None:
    reporter = asyncio.create_task(_report(fleet.statistics))
    try:
        async with asyncio.timeout(duration):
            await fleet.run()
    except TimeoutError:
        pass
    finally:
        reporter.cancel()
        await asyncio.gather(reporter, return_exceptions=True)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; SIGTERM cancels as Ctrl-C does, so that both clean up."""
    terminated = False

    async def within() -> None:
        task = asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        await work

    try:
        asyncio.run(within())
    except asyncio.CancelledError:
        if not terminated:
            raise
        raise click.exceptions.Exit(_TERMINATED) from None


class _Registered:
    """
    What this command has on the server: its devices, and their collection if it made that.

    Args:
        collection: Id of the collection; empty for the one of earlier runs, or a new one.
    """

    def __init__(self, client: Client, collection: str) -> None:
        self._client = client
        self.collection = collection
        self._made_collection = False
        self.ours: list[str] = []
        """Ids of devices that this command made, now or in an earlier run."""
        self._unanswered: set[str] = set()
        """Addresses of devices that may have been made: nobody knows."""

    async def make(self, addresses: Sequence[str]) -> None:
        """See to it that the server knows a device at each address."""
        if not self.collection:
            await _each(self._find_collection, [MARK])
        missing = dict.fromkeys(addresses)
        for device in (await self._client.request("GET", device_path(self.collection))).get("devices") or ():
            address = ((device.get("metadata") or {}).get("ciot") or {}).get("allocatedIp")
            if address in missing:
                del missing[address]
                if _is_marked(device):
                    self.ours.append(str(device["deviceId"]))
        try:
            await _each(self._create, list(missing))
        except Conflict as exc:
            exc.detail = exc.detail.removeprefix(f"{exc.field}: ")
            exc.args = (exc.detail,)
            exc.hint = "Another collection has this address: name that collection with -c, or change --base-address."
            raise

    async def delete(self) -> None:
        """Delete the devices, and the collection if it was made; say what remains when that fails or is cancelled."""
        count, collection = len(self.ours), self._made_collection
        try:
            await _each(self._delete, list(self.ours))
            if self._made_collection and not self._unanswered:
                await _each(self._delete_collection, [self.collection])
        finally:
            remaining = len(self.ours) + len(self._unanswered)
            if remaining:
                verb = "remain" if remaining > 1 else "remains"
                _note(f"{_devices(remaining)} {verb}: span-events device list -c {self.collection}")
            elif self._made_collection:
                _note(f"the collection remains: span-events collection delete {self.collection}")
            elif count or collection:
                _note(f"deleted {_devices(count)}{' and the collection' if collection else ''}")

    async def _find_collection(self, mark: str) -> None:
        """Take the collection of earlier runs, or make one."""
        for each in (await self._client.request("GET", collection_path())).get("collections") or ():
            if _is_marked(each):
                self.collection = str(each["collectionId"])
                return
        made = await self._client.request("POST", collection_path(), {"tags": {"name": "simulator", mark: "true"}})
        self.collection, self._made_collection = str(made["collectionId"]), True

    async def _create(self, address: str) -> None:
        self._unanswered.add(address)
        try:
            device = await self._client.request("POST", device_path(self.collection), _document(address))
            self.ours.append(str(device["deviceId"]))
        except RequestError:
            self._unanswered.discard(address)  # refused, so there is none
            raise
        self._unanswered.discard(address)

    async def _delete(self, device: str) -> None:
        with suppress(NotFound):  # somebody else was faster
            await self._client.request("DELETE", device_path(self.collection, device))
        self.ours.remove(device)

    async def _delete_collection(self, collection: str) -> None:
        await self._client.request("DELETE", collection_path(collection))
        self._made_collection = False


def _is_marked(document: Mapping[str, Any]) -> bool:
    return (document.get("tags") or {}).get(MARK) == "true"


def _document(address: str) -> dict[str, Any]:
    name = f"simulated-{'.'.join(address.split('.')[2:])}"
    return {"tags": {"name": name, MARK: "true"}, "metadata": {"ciot": {"allocatedIp": address}}}


async def _each(request: Callable[[str], Awaitable[None]], items: Sequence[str]) -> None:
    """
    Make a request for each item, some at a time.

    After the first failure, or when this is cancelled, no more are begun, but those under way are awaited: only their
    answers tell what there is to clean up. Cancelled a second time, it does not wait.
    """
    waiting = deque(items)

    async def work() -> None:
        while waiting:
            await request(waiting.popleft())

    workers = [asyncio.create_task(work()) for _ in range(min(_AT_ONCE, len(items)))]
    for worker in workers:
        worker.add_done_callback(_look_at)
    if not workers:
        return
    try:
        await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        waiting.clear()
        await asyncio.wait(workers)
    for worker in workers:
        worker.result()


def _look_at(worker: asyncio.Task[None]) -> None:
    """Take a failure as seen, so that asyncio does not report it when somebody else's was raised already."""
    if not worker.cancelled():
        worker.exception()


async def _report(statistics: Statistics) -> None:
    """Keep a line with the statistics on standard error, one over the other on a terminal."""
    began, before = monotonic(), 0
    on_terminal = sys.stderr.isatty()
    while True:
        await asyncio.sleep(_REPORT_PAUSE if on_terminal else 10 * _REPORT_PAUSE)
        rate = (statistics.sent - before) / (_REPORT_PAUSE if on_terminal else 10 * _REPORT_PAUSE)
        before = statistics.sent
        line = f"{monotonic() - began:6.0f} s  {rate:.1f}/s  {_counts(statistics)}"
        if on_terminal:  # a line that wraps could not be written over
            line = f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}"
        click.echo(line, err=True, nl=not on_terminal)


def _counts(statistics: Statistics) -> str:
    words = [_sent(statistics)]
    for word, number in (
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


def _sent(statistics: Statistics) -> str:
    """Say what was sent, and of what could be answered how much was: the rest is no loss."""
    udp, coap = statistics.over_udp, statistics.sent - statistics.over_udp
    parts = [f"{udp} over UDP, which has no answers"] if udp else []
    if coap:
        parts.append(f"{coap} over CoAP, {statistics.answered} answered")
    return f"sent {statistics.sent}" + (f" ({'; '.join(parts)})" if parts else "")


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


def _devices(count: int) -> str:
    return f"{count} device{'' if count == 1 else 's'}"


def _note(sentence: str) -> None:
    before = "\r\x1b[K" if sys.stderr.isatty() else ""
    click.echo(f"{before}-- {sentence}", err=True)
