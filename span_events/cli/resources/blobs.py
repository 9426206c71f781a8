"""``blob``: large uploads of devices, through the API."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from span_events.cli.options import (
    Group,
    Session,
    SpanId,
    WholeNumber,
    api_options,
    collection_option,
    pass_session,
    yes_option,
)
from span_events.cli.output import show_json, show_table, time_text, write_octets
from span_events.cli.resources.common import collection_path, confirm
from span_events.client.api import Client
from span_events.errors import Conflict, StorageUnavailable

_DOWNLOAD_TIMEOUT: Final = 600.0
"""Limit of a download in seconds; by default, a blob has 16 MiB at most."""
_NS: Final = 1_000_000_000


@click.group(cls=Group)
def blob() -> None:
    """
    Blobs, the large uploads of devices: list, get, delete.

    A device sends one by HTTP POST to the port for blobs (--data-binary in curl), or by CoAP POST or PUT to /blob;
    the event blobUpload reports success, messageRejected the reason of a refusal.
    """


@blob.command("list")
@collection_option
@click.option("--limit", type=WholeNumber(), metavar="N", help="List at most so many. [default: 250]")
@api_options
@pass_session
def list_blobs(session: Session, collection: str, limit: int | None) -> None:
    """
    List the blobs of a collection, newest first.

    Example:
      span-events blob list -c 17dh0cf43jfgl8
    """
    reply = session.call("GET", _path(collection), query=None if limit is None else {"limit": str(limit)})
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("BLOB", "DEVICE", "TYPE", "BYTES", "CREATED", "FROM", "PATH"),
        (_row(each) for each in reply.get("blobs") or ()),
        nothing="The collection has no blobs yet; `span-events tail` shows whether a device tries to send one.",
        fixed=2,
        optional=("FROM", "TYPE", "CREATED", "BYTES"),
    )


@blob.command("get")
@collection_option
@click.argument("blob", type=SpanId("blob"))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Write to this file, which must not be there yet; without it, or with -, to standard output.",
)
@api_options
@pass_session
def get_blob(session: Session, collection: str, blob: str, output: Path | None) -> None:
    """
    Download a blob, octet for octet.

    Examples:
      span-events blob get -c 17dh0cf43jfgl8 17kl1b3c9d4e20 -o photo.jpg
      span-events blob get -c 17dh0cf43jfgl8 17kl1b3c9d4e20 | jq .
    """
    if output is None and sys.stdout.isatty():
        raise click.UsageError("A terminal is no place for octets: give --output FILE, or --output - if you mean it.")

    async def fetch(client: Client) -> bytes:
        return await client.fetch(_path(collection, blob), within=_DOWNLOAD_TIMEOUT)

    if output is None or str(output) == "-":
        return write_octets(session.run(fetch))
    with _new_file(output) as file:
        octets = file.write(session.run(fetch))
    return click.echo(f"hint: wrote {octets} octets to {output}.", err=True)


@blob.command("delete")
@collection_option
@click.argument("blobs", type=SpanId("blob"), nargs=-1, required=True, metavar="BLOB...")
@yes_option
@api_options
@pass_session
def delete_blobs(session: Session, collection: str, blobs: tuple[str, ...], yes: bool) -> None:
    """
    Delete blobs, for good.

    Example:
      span-events blob delete -c 17dh0cf43jfgl8 17kl1b3c9d4e20 --yes
    """
    confirm(f"Delete {'the blob ' + blobs[0] if len(blobs) == 1 else f'{len(blobs)} blobs'}?", yes=yes)

    async def delete(client: Client) -> None:
        for each in blobs:
            await client.request("DELETE", _path(collection, each))
            if not session.as_json:
                click.echo(each)

    session.run(delete)
    if session.as_json:
        show_json({"deleted": list(blobs)})


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """
    Create a file before the request to the server, and remove the file if the request fails.

    Raises:
        Conflict: The file exists already.
        StorageUnavailable: The file cannot be written.
    """
    try:
        opened = path.open("xb")
    except FileExistsError as exc:
        raise Conflict(f"{path} is there already, and is not overwritten", hint="Choose another name.") from exc
    except OSError as exc:
        raise _unwritable(path, exc) from exc
    try:
        with opened as file:
            yield file
    except BaseException as exc:
        path.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise _unwritable(path, exc) from exc
        raise


def _unwritable(path: Path, error: OSError) -> StorageUnavailable:
    refused = StorageUnavailable(f"{path}: cannot be written: {error.strerror}")
    refused.hint = "Name a place that you may write to, and that has room."
    return refused


def _path(collection: str, blob: str = "") -> str:
    return collection_path(collection) + "/blobs" + (f"/{blob}" if blob else "")


def _row(document: dict[str, Any]) -> tuple[str, ...]:
    properties = document.get("properties") or {}
    return (
        document["blobId"],
        str(document.get("deviceId") or ""),
        str(document.get("contentType") or ""),
        str(document.get("size") or "0"),
        time_text(document.get("created"), per_second=_NS),
        str(properties.get("address") or ""),
        str(properties.get("path") or ""),
    )
