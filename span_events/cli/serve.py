"""``serve``: run a server in this process."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from span_events import config as configuration
from span_events import log
from span_events.cli.loading import Loading
from span_events.cli.options import Command, config_option, data_dir_option
from span_events.config import Config
from span_events.errors import ConfigurationError

DEVICE_SIDE: Final = ("datagrams", "coap", "coaps", "radius", "gateways", "blobs")
"""Tables of the configuration whose ``host`` is set by ``--host``: the listeners of devices and networks."""


@click.command(cls=Command)
@data_dir_option
@config_option
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Written once everything is bound, with the addresses as JSON; removed at the end.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Let devices in from the network: bind UDP, CoAP and the like to this address, 0.0.0.0 for all. "
    "The API stays where http.host says.",
)
@click.option(
    "--role",
    type=click.Choice(["all", "devices", "web"]),
    help="Part of this process in a server of several: listeners of devices, API and streams, or both.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 64),
    metavar="N",
    help="Start N processes that share the ports of API and streams and, unless --role is web, one for the devices.",
)
@click.option("--child", hidden=True, nargs=2, metavar="NAME PID", help="Name and parent, as --workers sets them.")
@click.option(
    "--demo", is_flag=True, help="Make a collection with simulated devices, if it is not there, and let them send."
)
def serve(
    data_dir: Path,
    config: Path | None,
    ready_file: Path | None,
    host: str | None,
    role: str | None,
    workers: int | None,
    child: tuple[str, str] | None,
    demo: bool,
) -> None:
    """
    Run the server until Ctrl-C or SIGTERM. SIGHUP reloads [log] and the server's certificates.

    The first start creates an admin token and shows it once. By default, all ports are on 127.0.0.1: --host
    opens those of the devices, http.host in the configuration the API. Every setting can also come from the
    environment: SPAN_EVENTS_HTTP__PORT=0 is port in [http], and 0 picks a free one.

    Examples:
      span-events serve --demo
      span-events serve --data-dir /var/lib/span-events --config /etc/span-events.toml --host 0.0.0.0
    """
    settings = configuration.load(config)
    if host is not None:
        settings = with_device_host(settings, host)
    settings = as_part(settings, role=role, workers=workers)
    if demo and (settings.workers or settings.role != "all"):
        raise click.UsageError("--demo needs a server of one process: leave --role and --workers out.")
    name = child[0] if child else ""
    log.configure(settings.log.level, settings.log.style, process=name)
    with Loading():  # every part of the server, which no other command needs
        from span_events.cli import running  # noqa: PLC0415

    def reload() -> None:
        again = configuration.load(config).log
        log.configure(again.level, again.style, process=name)

    if settings.workers:
        arguments = ["--data-dir", str(data_dir), *(["--config", str(config)] if config else [])]
        devices = ["--host", host] if host else []
        work = running.run_workers(
            settings, arguments, devices, data_dir=data_dir, ready_file=ready_file, reload=reload
        )
    else:
        parent = int(child[1]) if child else None
        work = running.run(settings, data_dir=data_dir, ready_file=ready_file, demo=demo, reload=reload, parent=parent)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work)


def with_device_host(settings: Config, host: str) -> Config:
    """Return the configuration with every device-side listener bound to an address."""
    changed = {name: getattr(settings, name).model_copy(update={"host": host}) for name in DEVICE_SIDE}
    return settings.model_copy(update=changed)


def as_part(settings: Config, *, role: str | None, workers: int | None) -> Config:
    """
    Return the configuration with the command line's role and number of workers.

    Raises:
        ConfigurationError: They need settings that are not there.
    """
    given = {name: value for name, value in (("role", role), ("workers", workers)) if value is not None}
    changed = settings.model_copy(update=given)
    if fault := changed.fault_of_parts():
        raise ConfigurationError([fault])
    return changed


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return how to make uvloop's event loop; None, for the standard one, if it is not installed (it is an extra)."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
