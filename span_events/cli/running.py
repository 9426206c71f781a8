"""Runs a server in this process: prints its addresses, serves until a signal, and cleans up."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from span_events import __version__
from span_events.accepting import raise_descriptor_limit
from span_events.app import Server
from span_events.app.notify import Manager
from span_events.app.workers.child import Child
from span_events.app.workers.parent import Parent
from span_events.app.workers.plan import Process, SharedPorts, joined, processes
from span_events.cli.loading import forget_output, has_terminal
from span_events.config import Config
from span_events.errors import SpanEventsError, StorageUnavailable
from span_events.ids import render
from span_events.log import get_logger
from span_events.net import render_remote
from span_events.pki.files import replace
from span_events.simulator.demo.demo import secret_file_of, with_mobile_core
from span_events.simulator.demo.seed import OWN_ADDRESS, Demo
from span_events.simulator.sockets import reachable

COAP_CLIENTS: Final = ("coap-client", "coap-client-openssl", "coap-client-gnutls", "coap-client-notls")
"""Names of libcoap's client: its own, and those that Debian 12 gives it."""

PROGRAM: Final = "span-events"
TOKEN_FILE: Final = "admin-token"  # noqa: S105  # a name
"""File in the data directory that a first start without a terminal writes the admin token to."""

_LOOK: Final = 1.0
"""Seconds between looks for the parent."""

log = get_logger("serve")


async def run(
    config: Config,
    *,
    data_dir: Path,
    ready_file: Path | None,
    demo: bool,
    reload: Callable[[], None],
    parent: int | None = None,
) -> None:
    """
    Serve until SIGINT or SIGTERM; a second signal exits at once. SIGHUP reloads, unless a terminal was closed.

    Args:
        reload: Applies the settings that may change while the server runs; raises `ConfigurationError`.
        ready_file: Path of a file for the bound addresses as JSON, written once all are bound and removed at the
            end. A stale file of a killed server is removed first.
        demo: Seed a collection, and let simulated devices attach, if no NAS is configured, and send.
        parent: Process that started this one, which ends with it.

    Raises:
        SpanEventsError: A part did not start, or ended unexpectedly.
    """
    raise_descriptor_limit()
    if ready_file is not None:
        _remove(ready_file)
    if demo:
        config = with_mobile_core(config, data_dir)
    stop = asyncio.Event()
    hung_up = asyncio.Event()
    _on_signals(stop, hung_up)
    manager = Manager()
    async with Server(config, data_dir=data_dir) as server:
        seeded = await server.start_demo() if demo else None
        gc.collect()
        gc.freeze()  # objects of the start stay alive: each full collection over them would take 0.1 s or more
        token_file = None
        if server.first_token and not sys.stdout.isatty():
            token_file = data_dir / TOKEN_FILE  # standard output may be a journal, which more people read
            replace(token_file, f"{server.first_token}\n".encode())
        if ready_file is not None:
            _write_ready_file(ready_file, server.addresses)
        _print(banner(server, seeded, data_dir=data_dir, token_file=token_file))
        server.failed.add_done_callback(lambda _: stop.set())
        manager.ready(f"http {server.addresses['http']}, {len(server.fleet.directory.devices)} devices")
        background = [
            asyncio.create_task(_repeat_reload(hung_up, reload, server.reload, manager)),
            asyncio.create_task(manager.keep_alive()),
            *([asyncio.create_task(_end_with(parent, stop))] if parent is not None else []),
        ]
        try:
            await stop.wait()
        finally:
            manager.stopping()
            for task in background:
                task.cancel()
            if ready_file is not None:
                _remove(ready_file)
        if server.failed.done():
            server.failed.result()
    manager.close()
    log.info("stopped")


async def run_workers(
    config: Config,
    arguments: Sequence[str],
    device_arguments: Sequence[str],
    *,
    data_dir: Path,
    ready_file: Path | None,
    reload: Callable[[], None],
) -> None:
    """
    Start and watch the processes of a server with workers, until SIGINT or SIGTERM; SIGHUP reloads all of them.

    Args:
        arguments: Options of ``serve`` that each process gets.
        device_arguments: Options that only the device node gets.

    Raises:
        SpanEventsError: A process did not start.
    """
    if ready_file is not None:
        _remove(ready_file)
    token_file = data_dir / TOKEN_FILE
    had_token = token_file.exists()
    stop, hung_up = asyncio.Event(), asyncio.Event()
    with (
        closing(Manager()) as manager,
        closing(SharedPorts(config)) as ports,
        tempfile.TemporaryDirectory(prefix="span-events-") as folder,
    ):
        planned = processes(config, ports.settings)
        parent = Parent([_child(each, arguments, device_arguments, Path(folder)) for each in planned])
        _on_signals(stop, hung_up, at_once=parent.kill)
        stopping = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(parent.start())
        background = [stopping, starting]
        try:
            await asyncio.wait(background, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                return
            starting.result()
            addresses = joined({each.name: _read_ready_file(Path(folder, each.name)) for each in planned})
            if ready_file is not None:
                _write_ready_file(ready_file, addresses)
            about_token = _about_token_file(token_file) if token_file.exists() and not had_token else []
            _print("\n".join([*_about_server(addresses, data_dir), *about_token, "", "Ctrl-C ends it.", ""]))
            manager.ready(f"http {addresses['http']}, {parent.status}")
            failing = asyncio.create_task(parent.failed())
            background += [
                failing,
                asyncio.create_task(_repeat_reload(hung_up, reload, parent.reload, manager)),
                asyncio.create_task(manager.keep_alive(lambda: parent.is_well)),
            ]
            await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
            if failing.done():
                failing.result()
        finally:
            manager.stopping()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await parent.stop()
            if ready_file is not None:
                _remove(ready_file)
            log.info("stopped")


def _print(text: str) -> None:
    """Print; if that fails, since a disk is full or a pipe was closed, the server goes on."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as exc:
        forget_output()
        log.warning("output_failed", error=exc.strerror)


def _child(process: Process, arguments: Sequence[str], device_arguments: Sequence[str], folder: Path) -> Child:
    """Make a process of the plan; its ready file is in the folder, under its name."""
    own = ("--ready-file", str(folder / process.name), "--child", process.name, str(os.getpid()))
    more = device_arguments if process.serves_devices else ()
    command = (sys.executable, "-m", "span_events", "serve", *arguments, *own, *more)
    return Child(process.name, command, os.environ | process.settings, folder=folder)


def banner(server: Server, demo: Demo | None, *, data_dir: Path, token_file: Path | None = None) -> str:
    """
    Return the first lines for a person: addresses, token, and commands to try.

    Args:
        token_file: File that holds the first token, if the banner must not.
    """
    http = server.addresses["http"]
    folder = data_dir.resolve()
    lines = _about_server(server.addresses, folder)
    if token_file is not None:
        lines += _about_token_file(token_file)
    elif server.config.role == "devices":
        pass
    elif server.first_token:
        lines += ["", "Admin token (may do everything; shown this once, keep it):", f"  {server.first_token}"]
    else:
        make = f"span-events token create --data-dir {shlex.quote(str(folder))} --resource / --write"
        lines += ["", f"Admin token: made and shown at the first start only; `{make}` makes another."]
    if demo:
        url = f"ws://{http}/span/collections/{render(demo.collection.id)}/activity"
        lines += [
            "",
            f"Demo: collection {render(demo.collection.id)}, watched with this read-only token:",
            f"  {demo.token}",
            "Watch it, in another terminal:",
            f"  {program()} --endpoint http://{http} --token {demo.token} tail",
            f'  npx wscat -H "X-API-Token: {demo.token}" -c {url}',
            f"or in a browser: open http://{http}/ first, then in its console:",
            f'  new WebSocket("{url}?api_token={demo.token}").onmessage = m => console.log(m.data)',
            f"Send something yourself ({OWN_ADDRESS} is the demo's device this-computer):",
        ]
        if "coap" in server.addresses:
            lines.append(f"  {coap_client()} -m post -e hello coap://{server.addresses['coap']}/x")
        if "datagrams" in server.addresses:
            lines.append(f"  echo hello | nc -u -w1 {_host_and_port(server.addresses['datagrams'])}")
        lines += _about_mobile_core(server)
        lines += _about_gateway(server, demo)
        lines += _about_chirpstack(server, demo)
    return "\n".join([*lines, "", "Ctrl-C ends it.", ""])


def _about_server(addresses: Mapping[str, str], data_dir: Path) -> list[str]:
    """Return the lines on the addresses of a server."""
    where = {**addresses, "http": f"http://{addresses['http']}", "data": str(data_dir.resolve())}
    width = max(map(len, where))
    places = [f"  {name:<{width}} {place}" for name, place in where.items()]
    return [f"span-events {__version__} is ready.", "", *places, "", *_about_reach(addresses)]


def _about_token_file(path: Path) -> list[str]:
    return ["", f"Admin token (may do everything): in {path.resolve()}; move it to a safe place."]


def _about_reach(addresses: Mapping[str, str]) -> list[str]:
    """Return the lines on who can reach which port."""
    local = [name for name, address in addresses.items() if _is_local(address)]
    far = [name for name in addresses if name not in local]
    if not far:
        opens = f"`{program()} serve --host 0.0.0.0` opens the ports of devices, http.host that of the API."
        return [f"Only this machine can reach the server. {opens}"]
    lines = [f"The network can reach {', '.join(far)}" + (f"; only this machine {', '.join(local)}." if local else ".")]
    if not {"coap", "datagrams"}.isdisjoint(far):
        lines.append(f"Over plain UDP and CoAP, a device is its address: see `{program()} guide security`.")
    return lines


def _is_local(address: str) -> bool:
    """Return whether only this machine reaches a bound address."""
    return ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback


def _about_mobile_core(server: Server) -> list[str]:
    """Return the lines on the demo's mobile core."""
    path = secret_file_of(server.config)
    if path is None or "radius" not in server.addresses:
        return []
    path = path.resolve()
    ports = ",".join(server.addresses[each] for each in ("radius", "radius-accounting"))
    return [
        f"Its devices attach over RADIUS, with the secret in {path}. Let more of them do so:",
        f"  {program()} --endpoint http://{server.addresses['http']} --token ADMIN_TOKEN \\",
        f"    simulate --core {ports} --core-secret-file {shlex.quote(str(path))}",
    ]


def _about_gateway(server: Server, demo: Demo) -> list[str]:
    """Return the lines on another gateway."""
    if demo.gateway is None:
        return []
    host, _, port = server.addresses["gateways"].rpartition(":")
    where = render_remote(reachable((host.strip("[]"), int(port))))
    return [
        f"A gateway with {len(demo.sensors)} sensors connects over TLS. Let another one do so:",
        f"  {program()} --endpoint http://{server.addresses['http']} --token ADMIN_TOKEN \\",
        f"    simulate gateway --gateways {where}",
    ]


def _about_chirpstack(server: Server, demo: Demo) -> list[str]:
    """Return the lines on another ChirpStack server."""
    return [
        f"A ChirpStack server reports {len(demo.meters)} LoRaWAN devices. Let another one do so:",
        f"  {program()} --endpoint http://{server.addresses['http']} --token ADMIN_TOKEN \\",
        "    simulate chirpstack",
    ]


def program() -> str:
    """Return how this user calls the program: by name where the shell finds it, else by path."""
    installed = Path(sys.executable).with_name(PROGRAM)
    found = shutil.which(PROGRAM)
    if found is not None and Path(found).resolve() == installed.resolve():
        return PROGRAM
    here = Path.cwd()
    return shlex.quote(str(installed.relative_to(here) if installed.is_relative_to(here) else installed))


def coap_client() -> str:
    """Return the name that libcoap's client has on this machine."""
    return next(filter(shutil.which, COAP_CLIENTS), COAP_CLIENTS[0])


def _host_and_port(address: str) -> str:
    """Return an address as netcat's arguments."""
    host, _, port = address.rpartition(":")
    return f"{host.strip('[]')} {port}"


async def _end_with(parent: int, stop: asyncio.Event) -> None:
    """Stop when the parent has ended: nobody else would restart or stop this process."""
    while os.getppid() == parent:  # noqa: ASYNC110  # the system tells nobody
        await asyncio.sleep(_LOOK)
    log.error("parent_ended", parent=parent)
    stop.set()


async def _repeat_reload(
    hung_up: asyncio.Event, reload: Callable[[], None], renew: Callable[[], Awaitable[bool]], manager: Manager
) -> None:
    """
    Apply changed settings and certificates after each SIGHUP; a faulty one is logged and changes nothing.

    Args:
        renew: Reads the certificates again; returns whether they changed.
    """
    while True:
        await hung_up.wait()
        hung_up.clear()
        manager.reloading()
        try:
            reload()
            renewed = await renew()
        except SpanEventsError as exc:
            log.error("reload_failed", detail=str(exc), hint=exc.hint)
        else:
            log.info("reloaded", certificates="new" if renewed else "unchanged")
        finally:
            manager.ready()


def _on_signals(stop: asyncio.Event, hung_up: asyncio.Event, *, at_once: Callable[[], None] = lambda: None) -> None:
    """
    Install the handlers. SIGHUP of a closed terminal is an end; where nohup ignores it, it stays ignored.

    Args:
        at_once: Called before the exit that a second signal asks for.
    """
    loop = asyncio.get_running_loop()

    def handle() -> None:
        if stop.is_set():
            at_once()
            os._exit(130)  # the person has asked twice
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, handle if has_terminal() else hung_up.set)


def _write_ready_file(path: Path, addresses: dict[str, str]) -> None:
    """Write the bound addresses for supervisors in one step: the file is never half-written."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(addresses) + "\n")
        partial.replace(path)
    except OSError as exc:
        raise StorageUnavailable(f"{path}: the ready file cannot be written: {exc.strerror}") from exc


def _read_ready_file(path: Path) -> dict[str, str]:
    addresses: dict[str, str] = json.loads(path.read_text())
    return addresses


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise StorageUnavailable(f"{path}: the ready file cannot be removed: {exc.strerror}") from exc
