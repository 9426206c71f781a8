"""``cert``: certificates of devices and gateways, through the API; the files are written here."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import click

from span_events.cli.options import Group, Reference, Session, api_options, collection_option, pass_session, yes_option
from span_events.cli.output import printable, show_json, show_table, time_text
from span_events.cli.resources.common import collection_path, confirm, device_path
from span_events.client.api import UnexpectedReply
from span_events.errors import Conflict, StorageUnavailable

F = TypeVar("F", bound=Callable[..., Any])

CERTIFICATE: Final = "cert.crt"
"""The leaf, then the intermediate, then the root."""
KEY: Final = "key.pem"
"""The private key, PKCS#8 without a password."""


def owner_options(command: F) -> F:
    """Add the options for a device or a gateway to a command."""
    device = click.option(
        "-d",
        "--device",
        type=Reference("device"),
        envvar="SPAN_DEVICE_ID",
        help="The device: its id, tag `name`, IMSI, IMEI or address. [env: SPAN_DEVICE_ID]",
    )
    gateway = click.option("--gateway", type=Reference("gateway"), help="A gateway, instead of a device.")
    return collection_option(device(gateway(command)))


out_option: Final = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Folder for the files; made if it is not there. [default: the current one]",
)


@click.group(cls=Group)
def cert() -> None:
    """
    Certificates of devices and gateways: create, sign, verify, list, revoke.

    A device on the internet shows its certificate when it connects over DTLS, a gateway over TLS; the serial number
    identifies the owner.
    """


@cert.command("create")
@owner_options
@click.option("--key-type", type=click.Choice(["ec", "rsa"]), default="ec", help="EC P-256 (default), or RSA-2048.")
@out_option
@api_options
@pass_session
def create(session: Session, collection: str, device: str, gateway: str, key_type: str, out: Path) -> None:
    """
    Create a private key and a certificate; write key.pem and cert.crt and print the serial number.

    cert.crt holds the device's or gateway's certificate, then the intermediate, then the root that it should
    trust. The server keeps no copy of key.pem. Existing files are not overwritten.

    Examples:
      span-events cert create -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2
      span-events cert create -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 --key-type rsa --out pump-3
      span-events cert create -c 17dh0cf43jfgl8 --gateway 17kl14hm46h4c9 --out roof
    """
    body = _owner(device, gateway) | ({} if key_type == "ec" else {"keyType": key_type})
    with _new_files(out, {KEY: 0o600, CERTIFICATE: 0o644}) as files:
        reply = session.call("POST", _path(collection, "create"), body)
        files[KEY].write(octets(reply, "privateKey"))
        files[CERTIFICATE].write(octets(reply, "certificate") + octets(reply, "chain"))
    _show_new(session, reply, out, (CERTIFICATE, KEY))


@cert.command("sign")
@owner_options
@click.option(
    "--csr", required=True, type=click.File("rb"), help="The signing request, PEM (PKCS#10); - is standard input."
)
@out_option
@api_options
@pass_session
def sign(session: Session, collection: str, device: str, gateway: str, csr: BinaryIO, out: Path) -> None:
    """
    Make a certificate for a private key that never leaves the device; write cert.crt.

    Only the key is taken from the request: EC on P-256, P-384 or P-521, or RSA of 2048 to 4096 bits.

    Examples:
      openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=x -out device.csr
      span-events cert sign -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 --csr device.csr
    """
    body = _owner(device, gateway) | {"csr": base64.b64encode(csr.read()).decode()}
    with _new_files(out, {CERTIFICATE: 0o644}) as files:
        reply = session.call("POST", _path(collection, "sign"), body)
        files[CERTIFICATE].write(octets(reply, "certificate") + octets(reply, "chain"))
    _show_new(session, reply, out, (CERTIFICATE,))


@cert.command("verify")
@owner_options
@click.argument("file", type=click.File("rb"), default=CERTIFICATE)
@api_options
@pass_session
@click.pass_context
def verify(ctx: click.Context, session: Session, collection: str, device: str, gateway: str, file: BinaryIO) -> None:
    """
    Verify that the device could connect with a certificate; list the reasons against it (exit status 1).

    FILE is cert.crt by default. The chain in it is verified, too.

    Example:
      span-events cert verify -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 cert.crt
    """
    body = _owner(device, gateway) | {"certificate": base64.b64encode(file.read()).decode()}
    reply = session.call("POST", _path(collection, "verify"), body)
    if session.as_json:
        show_json(reply)
    elif reply.get("valid"):
        click.echo("valid")
    else:
        for each in reply.get("errors") or ("is not valid",):
            click.echo(printable(f"{file.name}: {each}"))
    ctx.exit(0 if reply.get("valid") else 1)


@cert.command("list")
@owner_options
@api_options
@pass_session
def list_certificates(session: Session, collection: str, device: str, gateway: str) -> None:
    """
    List the certificates that were issued to a device or gateway, and until when they are valid.

    Example:
      span-events cert list -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2
    """
    show_certificates(session, _owner_path(collection, _owner(device, gateway)))


def show_certificates(session: Session, owner_path: str) -> None:
    """Print the certificates of a device or gateway."""
    reply = session.call("GET", f"{owner_path}/certs")
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("SERIAL", "STATE", "EXPIRES"),
        (
            (str(each["certificateSerial"]), _state(each), time_text(each.get("expires")))
            for each in reply.get("certificates") or ()
        ),
        nothing="There are no certificates; `span-events cert create` makes one.",
    )


@cert.command("revoke")
@collection_option
@click.argument("serial", metavar="SERIAL", type=click.IntRange(1, (1 << 63) - 1))
@yes_option
@api_options
@pass_session
def revoke(session: Session, collection: str, serial: int, yes: bool) -> None:
    """
    Revoke a certificate, at once and for good. Its sessions end.

    Example:
      span-events cert revoke -c 17dh0cf43jfgl8 1347824629134782462 --yes
    """
    confirm(f"Revoke the certificate {serial}? It cannot be made valid again.", yes=yes)
    reply = session.call("DELETE", _path(collection, str(serial)))
    if session.as_json:
        return show_json(reply)
    return click.echo(reply.get("certificateSerial", serial))


def _path(collection: str, what: str) -> str:
    return f"{collection_path(collection)}/certificates/{what}"


def _owner(device: str | None, gateway: str | None) -> dict[str, str]:
    """Return the owner; a gateway given as an option wins over a device of the environment."""
    named = click.get_current_context().get_parameter_source("device") is click.core.ParameterSource.COMMANDLINE
    if gateway and device and named:
        raise click.UsageError("A certificate is of a device or of a gateway: give --device or --gateway.")
    if gateway:
        return {"gatewayId": gateway}
    if device:
        return {"deviceId": device}
    raise click.UsageError("Missing option '-d' / '--device', or '--gateway'.")


def _owner_path(collection: str, owner: dict[str, str]) -> str:
    if "gatewayId" in owner:
        return f"{collection_path(collection)}/gateways/{owner['gatewayId']}"
    return device_path(collection, owner["deviceId"])


@contextmanager
def _new_files(folder: Path, modes: dict[str, int]) -> Iterator[dict[str, BinaryIO]]:
    """
    Create files before the request to the server, as none may exist yet; remove them if the server refuses.

    Raises:
        Conflict: One of them exists.
        StorageUnavailable: One of them cannot be written.
    """
    made: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            files: dict[str, BinaryIO] = {}
            for name, mode in modes.items():
                path = folder / name
                opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                made.append(path)
                files[name] = stack.enter_context(os.fdopen(opened, "wb"))
            yield files
    except BaseException as exc:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(exc, FileExistsError):
            raise Conflict(
                f"{exc.filename} is there already, and is not overwritten",
                hint="Move it away, or name another folder with --out.",
            ) from exc
        if isinstance(exc, OSError):
            error = StorageUnavailable(f"{exc.filename or folder}: cannot be written: {exc.strerror}")
            error.hint = "Name a folder that you may write to with --out."
            raise error from exc
        raise


def octets(reply: dict[str, Any], key: str) -> bytes:
    try:
        return base64.b64decode(reply[key], validate=True)
    except (KeyError, TypeError, ValueError) as exc:
        raise UnexpectedReply(f"The server's answer has no {key} in base64") from exc


def _show_new(session: Session, reply: dict[str, Any], folder: Path, files: tuple[str, ...]) -> None:
    """Print the serial number alone; the files and the validity go to standard error."""
    paths = [str(folder / each) for each in files]
    if session.as_json:
        return show_json({name: reply.get(name) for name in ("certificateSerial", "expires")} | {"files": paths})
    click.echo(reply.get("certificateSerial", ""))
    until = time_text(reply.get("expires"))
    return click.echo(f"hint: wrote {' and '.join(paths)}; valid until {until}.", err=True)


def _state(certificate: dict[str, Any]) -> str:
    if certificate.get("revoked"):
        return "revoked"
    return "valid" if int(certificate.get("expires") or 0) >= time.time() * 1000 else "expired"
