"""``backup`` and ``restore``: the data of a server in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from span_events import config as configuration
from span_events.cli.loading import Loading
from span_events.cli.options import Command, config_option, data_dir_option

_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=Command)
@data_dir_option
@config_option
@click.argument("file", type=_FILE)
def backup(data_dir: Path, config: Path | None, file: Path) -> None:
    """
    Write registry, keys, firmware images and blobs of a data directory to a compressed archive.

    A server may run meanwhile: the archive has the state of one moment. FILE is replaced when it is complete, and only
    its owner can read it: it holds the private keys. Events and received messages are in memory only, and not in it.
    Images and blobs in an object store (files.url) stay there. A registry in PostgreSQL (registry.url) makes the same
    archive: restored with another registry.url, it moves the server.

    Example:
      span-events backup --data-dir /var/lib/span-events /backup/span-events.tar.gz
    """
    with Loading():
        from span_events.app.backup import back_up  # noqa: PLC0415

    found = back_up(data_dir, configuration.load(config), file)
    for name in found.missing:
        click.echo(f"warning: {data_dir / name} is in the registry, but not on the disk", err=True)
    click.echo(f"{file}: {found.files} files, {found.octets} octets before compression")
    if found.elsewhere:
        click.echo(f"{found.elsewhere}: firmware images and blobs stay there, and need a backup of their own", err=True)


@click.command(cls=Command)
@data_dir_option
@config_option
@click.argument("file", type=_FILE)
def restore(data_dir: Path, config: Path | None, file: Path) -> None:
    """
    Fill an empty data directory, and an empty database if the registry is in PostgreSQL, from a backup.

    Devices, gateways, tokens and certificates work as they did; the next start of a newer release updates the registry.

    Example:
      span-events restore --data-dir /var/lib/span-events /backup/span-events.tar.gz
    """
    with Loading():
        from span_events.app.backup import restore as fill  # noqa: PLC0415

    found = fill(data_dir, configuration.load(config), file)
    click.echo(f"{data_dir}: {found.files} files of {found.created}, written by span-events {found.version}")
    if found.elsewhere:
        click.echo(
            f"{found.elsewhere}: firmware images and blobs are expected there; nothing was written to it", err=True
        )
