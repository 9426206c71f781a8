"""``outbox``: messages that wait for a device, through the API."""

from __future__ import annotations

import base64
import binascii
from typing import Any, BinaryIO

import click

from span_events.cli.options import Group, Session, SpanId, api_options, collection_option, device_option, pass_session
from span_events.cli.output import payload_text, show_json, show_table, time_text
from span_events.cli.resources.common import device_path


@click.group(cls=Group)
def outbox() -> None:
    """
    Messages to a device: list, add, delete.

    A message waits until the device sends something or polls (CoAP GET), and rides back with the reply. To a device
    behind a gateway it goes at once, or as soon as the gateway is connected.
    """


@outbox.command("list")
@collection_option
@device_option
@api_options
@pass_session
def list_messages(session: Session, collection: str, device: str) -> None:
    """
    List the messages to a device, newest first: pending, sent or failed.

    Example:
      span-events outbox list -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2
    """
    reply = session.call("GET", _path(collection, device))
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("MESSAGE", "STATE", "CREATED", "SENT", "OVER", "BYTES", "PAYLOAD"),
        (_row(each) for each in reply.get("messages") or ()),
        nothing="The outbox is empty; `span-events outbox add` queues a message.",
        optional=("OVER", "BYTES", "CREATED", "SENT", "STATE"),
    )


@outbox.command("add")
@collection_option
@device_option
@click.argument("text", required=False)
@click.option("--base64", "encoded", metavar="BASE64", help="The payload, base64, instead of TEXT.")
@click.option(
    "--file", "file", type=click.File("rb"), help="Read the payload from a file instead; - is standard input."
)
@api_options
@pass_session
def add_message(
    session: Session, collection: str, device: str, text: str | None, encoded: str | None, file: BinaryIO | None
) -> None:
    """
    Queue a message for a device and print its id.

    TEXT is sent as UTF-8. Its events are downstreamQueued and, once the device sends or polls,
    downstreamMessage.

    Examples:
      span-events outbox add -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 'reboot'
      span-events outbox add -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 --base64 AQID
      printf 'on 5' | span-events outbox add -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 --file -
    """
    body = {"payload": base64.b64encode(_payload(text, encoded, file)).decode()}
    reply = session.call("POST", _path(collection, device), body)
    if session.as_json:
        return show_json(reply)
    return click.echo(reply.get("messageId", ""))


@outbox.command("delete")
@collection_option
@device_option
@click.argument("message", type=SpanId("message"))
@api_options
@pass_session
def delete_message(session: Session, collection: str, device: str, message: str) -> None:
    """
    Delete a message from the outbox. A waiting one will not be sent (downstreamFailed, cancelled).

    Example:
      span-events outbox delete -c 17dh0cf43jfgl8 -d 17kl14hm46h4c2 17kl1b3c9d4e20
    """
    reply = session.call("DELETE", _path(collection, device, message))
    if session.as_json:
        return show_json(reply)
    return click.echo(reply.get("messageId", message))


def _path(collection: str, device: str, message: str = "") -> str:
    return device_path(collection, device) + "/outbox" + (f"/{message}" if message else "")


def _payload(text: str | None, encoded: str | None, file: BinaryIO | None) -> bytes:
    given = [each for each in (text, encoded, file) if each is not None]
    if len(given) != 1:
        raise click.UsageError(
            f"The payload is given {len(given)} times: give exactly one of TEXT, --base64 and --file."
        )
    if file is not None:
        return file.read()
    if encoded is not None:
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error as exc:
            raise click.BadParameter(f"{encoded[:40]!r} is not base64: {exc}", param_hint="--base64") from exc
    assert text is not None
    return text.encode()


def _row(message: dict[str, Any]) -> tuple[str, ...]:
    payload = str(message.get("payload") or "")
    state = str(message.get("state") or "")
    padding = len(payload) - len(payload.rstrip("="))
    return (
        message["messageId"],
        state,
        time_text(message.get("createdTime")),
        time_text(message.get("sentTime")),
        str(message.get("transport") or "") if state == "sent" else "",
        str(len(payload) // 4 * 3 - padding),
        payload_text(payload),
    )
