"""``firmware``: images, their targets, and the devices that run them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from span_events.cli.firmware.monitor import monitor
from span_events.cli.options import (
    Group,
    Reference,
    Session,
    SpanId,
    api_options,
    collection_option,
    device_option,
    pass_session,
    tag_option,
    yes_option,
)
from span_events.cli.output import printable, show_fields, show_json, show_table, tags_text, time_text
from span_events.cli.resources.common import collection_path, confirm, device_path
from span_events.errors import NotFound

_UPLOAD_TIMEOUT: Final = 900.0
"""Limit of an upload in seconds: the server's default."""
_SHOWN_DIGITS: Final = 12
"""Digits of a SHA-256 that a list shows."""

image_argument: Final = click.argument("image", type=SpanId("image"), envvar="SPAN_IMAGE_ID")


@click.group(cls=Group)
def firmware() -> None:
    """
    Firmware images: upload, list, show, update, delete; assign, usage, monitor, clear.

    A device reports its version (CoAP POST /u); if its target is another version, it downloads that (GET /fw)
    and reports again. The collection, or the device itself, sets the target: see `assign`.
    """


firmware.add_command(monitor)


@firmware.command("list")
@collection_option
@api_options
@pass_session
def list_images(session: Session, collection: str) -> None:
    """
    List the firmware images of a collection.

    Example:
      span-events firmware list -c 17dh0cf43jfgl8
    """
    reply = session.call("GET", _path(collection))
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("IMAGE", "VERSION", "BYTES", "SHA-256", "ENABLED", "CREATED", "FILE", "TAGS"),
        (_row(each) for each in reply.get("images") or ()),
        nothing="The collection has no images yet; `span-events firmware upload FILE --version 1.0.0` makes one.",
        fixed=2,
        optional=("FILE", "SHA-256", "CREATED", "ENABLED", "BYTES"),
    )


@firmware.command("upload")
@collection_option
@click.argument("file", type=click.File("rb"))
@click.option(
    "--version", required=True, metavar="TEXT", help="What devices report that run it, character for character."
)
@tag_option
@api_options
@pass_session
def upload_image(session: Session, collection: str, file: BinaryIO, version: str, tags: dict[str, str]) -> None:
    """
    Upload a firmware image and print its id.

    The version must be the text that the device reports once it runs the image: an update counts as done only then.
    Neither two versions nor two images of a collection are the same.

    Examples:
      span-events firmware upload -c 17dh0cf43jfgl8 build/zephyr/app_update.bin --version 1.1.0
      export SPAN_IMAGE_ID=$(span-events firmware upload app.bin --version 1.1.0 --tag build=4711)
    """
    body: dict[str, Any] = {
        "image": base64.b64encode(file.read()).decode(),
        "version": version,
        "filename": Path(file.name).name,
    }
    if tags:
        body["tags"] = tags
    reply = session.call("POST", _path(collection), body, within=_UPLOAD_TIMEOUT)
    if session.as_json:
        return show_json(reply)
    click.echo(reply.get("imageId", ""))
    return click.echo(
        f"hint: {reply.get('length')} octets, SHA-256 {reply.get('sha256')}; `span-events firmware assign` lets devices"
        " run it.",
        err=True,
    )


@firmware.command("show")
@collection_option
@image_argument
@api_options
@pass_session
def show_image(session: Session, collection: str, image: str) -> None:
    """
    Show a firmware image.

    Example:
      span-events firmware show -c 17dh0cf43jfgl8 17kl1b3c9d4e20
    """
    _show(session, session.call("GET", _path(collection, image)))


@firmware.command("update")
@collection_option
@image_argument
@click.option("--version", metavar="TEXT", help="What devices report that run it, character for character.")
@tag_option
@click.option("--enable/--disable", "enabled", default=None, help="Whether devices get it as their target.")
@api_options
@pass_session
def update_image(
    session: Session, collection: str, image: str, version: str | None, tags: dict[str, str], enabled: bool | None
) -> None:
    """
    Change a firmware image. Fields without an option keep their value; the octets cannot be changed.

    Examples:
      span-events firmware update -c 17dh0cf43jfgl8 17kl1b3c9d4e20 --disable
      span-events firmware update -c 17dh0cf43jfgl8 17kl1b3c9d4e20 --version 1.1.0-rc1
    """
    named = {"version": version, "tags": tags or None, "enabled": enabled}
    body = {name: value for name, value in named.items() if value is not None}
    if not body:
        raise click.UsageError("Nothing to change: name at least one option, --disable for example.")
    _show(session, session.call("PATCH", _path(collection, image), body))


@firmware.command("delete")
@collection_option
@image_argument
@yes_option
@api_options
@pass_session
def delete_image(session: Session, collection: str, image: str, yes: bool) -> None:
    """
    Delete a firmware image. It must not be a target any more.

    Example:
      span-events firmware delete -c 17dh0cf43jfgl8 17kl1b3c9d4e20 --yes
    """
    confirm(f"Delete the firmware image {image}?", yes=yes)
    reply = session.call("DELETE", _path(collection, image))
    if session.as_json:
        return show_json(reply)
    return click.echo(reply.get("imageId", image))


@firmware.command("assign")
@collection_option
@click.argument("image", type=SpanId("image"), envvar="SPAN_IMAGE_ID", required=False)
@click.option("--version", metavar="TEXT", help="The image with this version, instead of IMAGE.")
@click.option("--none", "nothing", is_flag=True, help="No image: take the target away.")
@click.option(
    "-d",
    "--device",
    "devices",
    type=Reference("device"),
    multiple=True,
    help="Only this device; may be repeated. Without it, the collection's target is set.",
)
@click.option(
    "--management",
    type=click.Choice(["collection", "device", "disabled"]),
    help="Whose target counts from now on: collection: the collection's, for all its devices; "
    "device: each device's own, and the collection's for devices without one; disabled: none.",
)
@api_options
@pass_session
def assign(
    session: Session,
    collection: str,
    image: str | None,
    version: str | None,
    nothing: bool,
    devices: tuple[str, ...],
    management: str | None,
) -> None:
    """
    Set the target image of all or some devices of a collection, and print the ids of the changed ones.

    A device learns its target with its next report. `span-events firmware monitor` shows the progress.

    Examples:
      span-events firmware assign -c 17dh0cf43jfgl8 17kl1b3c9d4e20 --management collection
      span-events firmware assign -c 17dh0cf43jfgl8 --version 1.1.0 -d 17kl14hm46h4c2 --management device
      span-events firmware assign -c 17dh0cf43jfgl8 --none
    """
    if version is not None or nothing:
        image = image if _given_as_argument("image") else None  # SPAN_IMAGE_ID is for commands without these
    given = [each for each in (image, version, nothing or None) if each is not None]
    if len(given) != 1:
        raise click.UsageError(
            f"The image is given {len(given)} times: give exactly one of IMAGE, --version and --none."
        )
    target = "0" if nothing else image or _with_version(session, collection, version or "")
    changes: dict[str, Any] = {} if devices else {"targetFirmwareId": target}
    if management:
        changes["management"] = management
    changed = [
        session.call("PATCH", device_path(collection, each), {"firmware": {"targetFirmwareId": target}})
        for each in devices
    ]
    of_collection = session.call(
        "PATCH" if changes else "GET", collection_path(collection), {"firmware": changes} if changes else None
    )
    if session.as_json:
        show_json({"devices": changed} if devices else of_collection)
    else:
        click.echo("\n".join(devices or (collection,)))
    counts = str((of_collection.get("firmware") or {}).get("management") or "disabled")
    if not nothing and counts not in (("device",) if devices else ("collection", "device")):
        wanted = "device" if devices else "collection"
        click.echo(
            f"hint: this has no effect yet, since the collection's firmware management is `{counts}`: "
            f"`--management {wanted}` changes that.",
            err=True,
        )


@firmware.command("usage")
@collection_option
@image_argument
@api_options
@pass_session
def show_usage(session: Session, collection: str, image: str) -> None:
    """
    List the devices that should run an image, and those that do.

    Example:
      span-events firmware usage -c 17dh0cf43jfgl8 17kl1b3c9d4e20
    """
    reply = session.call("GET", _path(collection, image) + "/usage")
    if session.as_json:
        return show_json(reply)
    targeted, current = reply.get("targeted") or [], reply.get("current") or []
    return show_table(
        ("DEVICE", "SHOULD RUN IT", "RUNS IT"),
        (
            (each, _yes(each in targeted), _yes(each in current))
            for each in (*targeted, *(each for each in current if each not in targeted))
        ),
        nothing="No device should run this image, and none does; `span-events firmware assign` changes that.",
    )


@firmware.command("clear")
@collection_option
@device_option
@api_options
@pass_session
def clear_error(session: Session, collection: str, device: str) -> None:
    """
    Forget that a device's update failed, so that it is tried again, and print the device's firmware state.

    Example:
      span-events firmware clear -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2
    """
    reply = session.call("DELETE", device_path(collection, device) + "/fwerror")
    if session.as_json:
        return show_json(reply)
    return click.echo(printable(str(reply.get("result", ""))))


def _path(collection: str, image: str = "") -> str:
    return collection_path(collection) + "/firmware" + (f"/{image}" if image else "")


def _given_as_argument(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _with_version(session: Session, collection: str, version: str) -> str:
    images: Iterable[dict[str, Any]] = session.call("GET", _path(collection)).get("images") or ()
    for each in images:
        if each.get("version") == version:
            return str(each["imageId"])
    raise NotFound(
        f"The collection {collection} has no image with version {version}",
        hint="`span-events firmware list` shows the versions.",
    )


def _row(image: dict[str, Any]) -> tuple[str, ...]:
    return (
        image["imageId"],
        str(image.get("version") or ""),
        str(image.get("length") or 0),
        str(image.get("sha256") or "")[:_SHOWN_DIGITS],
        _yes(image.get("enabled", True)),
        time_text(image.get("created")),
        str(image.get("filename") or ""),
        tags_text(image.get("tags")),
    )


def _show(session: Session, image: dict[str, Any]) -> None:
    if session.as_json:
        show_json(image)
    else:
        show_fields(image | {"created": time_text(image.get("created"))})  # Span has other units in other fields


def _yes(value: object) -> str:
    return "yes" if value else "no"
