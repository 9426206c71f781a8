"""``device``: list, create, get, update, move and delete devices, and set a pre-shared key, through the API."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click

from span_events.cli.options import (
    Group,
    Reference,
    Session,
    api_options,
    collection_option,
    device_argument,
    device_option,
    enabled_option,
    pass_session,
    tag_option,
    yes_option,
)
from span_events.cli.output import printable, show_json, show_table, tags_text, time_text
from span_events.cli.resources.common import changes, confirm, device_path, show, show_id, some_changes, yes_no
from span_events.errors import RequestError

_PSK_OCTETS: Final = 16
"""Octets of a generated key: the length of AES-128 keys, which every stack accepts."""

IDENTITIES: Final[Mapping[str, str]] = {
    "metadata.ciot.allocatedIp": "--ip",
    "config.ciot.imsi": "--imsi",
    "config.ciot.imei": "--imei",
}
"""Fields that identify a device, and the options that set them."""

ip_option = click.option(
    "--ip",
    metavar="ADDRESS",
    help="Address that it sends from, or with a mobile core the one it is given; '' clears it.",
)
imsi_option = click.option("--imsi", metavar="DIGITS", help="SIM that the device attaches with; '' clears it.")
imei_option = click.option("--imei", metavar="DIGITS", help="Hardware that the SIM belongs in; '' clears it.")


@click.group(cls=Group)
def device() -> None:
    """Devices: list, create, get, update, move, delete, and the pre-shared key of one."""


@device.command("list")
@collection_option
@api_options
@pass_session
def list_devices(session: Session, collection: str) -> None:
    """
    List the devices of a collection, with their identities and the time of their last message.

    A device that sends from another ADDRESS than the one shown is refused (messageRejected, unknownAddress). One
    without IPv4 shows its IPv6 prefix. An address in parentheses is reserved: the device gets it when it
    attaches to the mobile network, and has none now.

    Examples:
      span-events device list -c 17dh0cf43jfgl8
      span-events device list -c 17dh0cf43jfgl8 --json | jq -r '.devices[].deviceId'
    """
    reply = session.call("GET", device_path(collection))
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("DEVICE", "ADDRESS", "IMSI", "IMEI", "ENABLED", "LAST MESSAGE", "OVER", "TAGS"),
        (_device_row(each) for each in reply.get("devices") or ()),
        nothing="The collection has no devices yet; `span-events device create --ip ADDRESS` makes one.",
        optional=("OVER", "IMEI", "ENABLED", "IMSI", "LAST MESSAGE", "ADDRESS"),
    )


@device.command("create")
@collection_option
@ip_option
@imsi_option
@imei_option
@tag_option
@enabled_option
@api_options
@pass_session
def create_device(session: Session, /, collection: str, **fields: Any) -> None:
    """
    Create a device and print its id.

    It can send as soon as the server can recognise it: by its source address (--ip), or by SIM
    and hardware once a mobile core reports the address that they got.

    Examples:
      span-events device create -c 17dh0cf43jfgl8 --ip 10.0.0.17 --tag name=pump-3
      span-events device create -c 17dh0cf43jfgl8 --imsi 242016000000123 --imei 357518080000128
    """
    with _in_options():
        made = session.call("POST", device_path(collection), _device_changes(**fields))
    show_id(session, made, "deviceId")
    if not any(fields[each] for each in ("ip", "imsi", "imei")):
        device_id = made.get("deviceId", "DEVICE")
        click.echo(
            "hint: This device cannot be recognised yet, so nothing that it sends is accepted: "
            f"`span-events device update -c {collection} {device_id} --ip ADDRESS` says which address it sends from; "
            f"`span-events cert create -c {collection} -d {device_id}` or `device psk` lets it in over DTLS.",
            err=True,
        )


@device.command("get")
@collection_option
@device_argument
@api_options
@pass_session
def get_device(session: Session, collection: str, device: str) -> None:
    """
    Show all that is known of a device, with its last message.

    Example:
      span-events device get -c 17dh0cf43jfgl8 17kl14hm46h4c2
    """
    show(session, session.call("GET", device_path(collection, device)))


@device.command("update")
@collection_option
@device_argument
@ip_option
@imsi_option
@imei_option
@tag_option
@enabled_option
@api_options
@pass_session
def update_device(session: Session, /, collection: str, device: str, **fields: Any) -> None:
    """
    Change a device. Fields without an option keep their value.

    Examples:
      span-events device update -c 17dh0cf43jfgl8 17kl14hm46h4c2 --ip 10.0.0.18
      span-events device update -c 17dh0cf43jfgl8 17kl14hm46h4c2 --imsi '' --enable
    """
    changes = some_changes(_device_changes(**fields))
    with _in_options():
        changed = session.call("PATCH", device_path(collection, device), changes)
    show(session, changed)


@device.command("move")
@collection_option
@device_argument
@click.argument("to", type=Reference("collection"))
@api_options
@pass_session
def move_device(session: Session, collection: str, device: str, to: str) -> None:
    """
    Move a device to the collection TO.

    Its events go there from now on; both collections see deviceMoved.

    Example:
      span-events device move -c 17dh0cf43jfgl8 17kl14hm46h4c2 17dh0cf43jfgl9
    """
    show(session, session.call("PATCH", device_path(collection, device), {"collectionId": to}))


@device.command("delete")
@collection_option
@device_argument
@yes_option
@api_options
@pass_session
def delete_device(session: Session, collection: str, device: str, yes: bool) -> None:
    """
    Delete a device. Messages that wait for it are lost; messages from it are rejected from now on.

    Example:
      span-events device delete -c 17dh0cf43jfgl8 17kl14hm46h4c2 --yes
    """
    confirm(f"Delete the device {device} and the messages that wait for it?", yes=yes)
    show_id(session, session.call("DELETE", device_path(collection, device)), "deviceId")


@device.command("psk")
@collection_option
@device_option
@click.option("--identity", metavar="TEXT", help="What the device names itself by in the handshake: 1 to 128 octets.")
@click.option(
    "--key", "key_hex", metavar="HEX", help="The key, 16 to 64 octets. Others may see it in the process list."
)
@click.option("--key-base64", metavar="BASE64", help="The same in base64.")
@click.option("--generate", is_flag=True, help="Make a key of 16 random octets and print it, this once.")
@click.option("--remove", is_flag=True, help="Take the key away.")
@api_options
@pass_session
def set_psk(
    session: Session,
    collection: str,
    device: str,
    identity: str | None,
    key_hex: str | None,
    key_base64: str | None,
    generate: bool,
    remove: bool,
) -> None:
    """
    Set a device's pre-shared key (PSK) for DTLS, for stacks without certificates.

    It replaces an earlier key. The server never shows it again.

    Examples:
      span-events device psk -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 --identity pump-3 --generate
      span-events device psk -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 --identity pump --key 000102030405060708090a0b0c0d0e0f
      span-events device psk -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 --remove
    """
    path = device_path(collection, device) + "/psk"
    given = [name for name, value in (("--key", key_hex), ("--key-base64", key_base64)) if value is not None]
    given += [name for name, value in (("--generate", generate), ("--remove", remove)) if value]
    if len(given) != 1:
        wanted = "give exactly one of --key, --key-base64, --generate and --remove"
        raise click.UsageError(f"{' and '.join(given) or 'No key'}: {wanted}.")
    if remove:
        return show_id(session, session.call("DELETE", path), "deviceId")
    if not identity:
        raise click.UsageError("Missing option '--identity'.")
    key = secrets.token_bytes(_PSK_OCTETS) if generate else _psk_key(key_hex, key_base64)
    body = {"identity": base64.b64encode(os.fsencode(identity)).decode(), "key": base64.b64encode(key).decode()}
    reply = session.call("PUT", path, body)
    if session.as_json:
        return show_json(reply | ({"key": body["key"]} if generate else {}))
    if not generate:
        return click.echo(reply.get("deviceId", device))
    click.echo(key.hex())
    return click.echo(f"hint: the key of {printable(identity)}, hexadecimal; it is not shown again.", err=True)


def _psk_key(key_hex: str | None, key_base64: str | None) -> bytes:
    """Read a key; the message of a refusal does not show it, as a single digit may be wrong."""
    try:
        return bytes.fromhex(key_hex) if key_hex is not None else base64.b64decode(key_base64 or "", validate=True)
    except ValueError:
        option, form = ("--key", "hexadecimal") if key_hex is not None else ("--key-base64", "base64")
        raise click.BadParameter(f"is not {form}", param_hint=option) from None


@contextmanager
def _in_options() -> Iterator[None]:
    """Replace the field names in a refusal by the options of the command."""
    try:
        yield
    except RequestError as exc:
        for field, option in IDENTITIES.items():
            exc.detail = exc.detail.replace(field, option)
        exc.args = (exc.detail,)
        raise


def _device_row(device: dict[str, Any]) -> tuple[str, ...]:
    config = (device.get("config") or {}).get("ciot") or {}
    metadata = (device.get("metadata") or {}).get("ciot") or {}
    heard = time_text(device.get("lastReceived"), per_second=1_000_000_000)
    return (
        device["deviceId"],
        _address(metadata),
        _digits(config.get("imsi")),
        _digits(config.get("imei")),
        yes_no(device.get("enabled", True)),
        heard or "never",
        str(device.get("lastTransport") or "") if heard else "",
        tags_text(device.get("tags")),
    )


def _device_changes(
    *, ip: str | None, imsi: str | None, imei: str | None, tags: dict[str, str], enabled: bool | None
) -> dict[str, Any]:
    body = changes(tags, enabled)
    identity = {name: value for name, value in (("imsi", imsi), ("imei", imei)) if value is not None}
    if identity:
        body["config"] = {"ciot": identity}
    if ip is not None:
        body["metadata"] = {"ciot": {"allocatedIp": ip}}
    return body


def _address(ciot: Mapping[str, Any]) -> str:
    """Return the source address of a device, or in parentheses its reserved one."""
    own = ciot.get("staticIp")
    return ciot.get("allocatedIp") or ciot.get("allocatedPrefix") or (f"({own})" if own else "")


def _digits(value: object) -> str:
    """Write an IMSI or IMEI; Span says 0 for none."""
    return "" if value in (None, "", "0", 0) else str(value)
