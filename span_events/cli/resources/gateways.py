"""``gateway``: gateways and the devices behind them, shown and changed through the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from span_events.cli.options import (
    Group,
    Reference,
    Session,
    api_options,
    collection_option,
    device_option,
    enabled_option,
    param_option,
    pass_session,
    tag_option,
    yes_option,
)
from span_events.cli.output import show_json, show_table, tags_text
from span_events.cli.resources.certs import show_certificates
from span_events.cli.resources.common import (
    changes,
    collection_path,
    confirm,
    device_path,
    show,
    show_id,
    some_changes,
    yes_no,
)
from span_events.registry.directory import BUILT_IN
from span_events.registry.model import GatewayType

F = TypeVar("F", bound=Callable[..., Any])

_TYPES: Final = [each.value for each in GatewayType if each not in (GatewayType.UNKNOWN, *BUILT_IN)]

gateway_argument: Final = click.argument("gateway", type=Reference("gateway"), envvar="SPAN_GATEWAY_ID")


def gateway_options(command: F) -> F:
    """Add the options for the fields of a gateway to a command."""
    name = click.option("--name", metavar="TEXT", help="What people call it.")
    kind = click.option("--type", "kind", type=click.Choice(_TYPES), help="What it carries; custom if nothing is said.")
    return name(kind(param_option(tag_option(enabled_option(command)))))


def gateway_path(collection: str, gateway: str = "") -> str:
    """Return the path of a gateway, or of all of a collection."""
    return collection_path(collection) + "/gateways" + (f"/{gateway}" if gateway else "")


@click.group(cls=Group)
def gateway() -> None:
    """
    Gateways: list, create, get, update, move, delete, certs; attach devices, and detach them.

    A gateway speaks for devices that cannot speak for themselves, over one connection (gRPC, port 6674). It shows its
    certificate when it connects: `span-events cert create --gateway` makes one.
    """


@gateway.command("list")
@collection_option
@api_options
@pass_session
def list_gateways(session: Session, collection: str) -> None:
    """
    List the gateways of a collection, and whether they are connected.

    Those of type ciot and inet are built in: they stand for the ports that devices reach directly.

    Example:
      span-events gateway list -c 17dh0cf43jfgl8
    """
    reply = session.call("GET", gateway_path(collection))
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("GATEWAY", "TYPE", "NAME", "STATUS", "ENABLED", "TAGS"),
        (
            (
                each["gatewayId"],
                str(each.get("type") or ""),
                str(each.get("name") or ""),
                str(each.get("status") or ""),
                yes_no(each.get("enabled", True)),
                tags_text(each.get("tags")),
            )
            for each in reply.get("gateways") or ()
        ),
        nothing="The collection has no gateways; `span-events gateway create --name NAME` makes one.",
    )


@gateway.command("create")
@collection_option
@gateway_options
@api_options
@pass_session
def create_gateway(session: Session, /, collection: str, **fields: Any) -> None:
    """
    Create a gateway and print its id.

    Examples:
      span-events gateway create -c 17dh0cf43jfgl8 --name roof
      span-events gateway create -c 17dh0cf43jfgl8 --name roof --type lora --param region=EU868
    """
    made = session.call("POST", gateway_path(collection), _gateway_changes(**fields))
    show_id(session, made, "gatewayId")
    click.echo(
        f"hint: `span-events cert create -c {collection} --gateway {made.get('gatewayId', 'GATEWAY')}` makes what it "
        "connects with; `span-events gateway attach` says which devices are behind it.",
        err=True,
    )


@gateway.command("get")
@collection_option
@gateway_argument
@api_options
@pass_session
def get_gateway(session: Session, collection: str, gateway: str) -> None:
    """
    Show all that is known of a gateway.

    Example:
      span-events gateway get -c 17dh0cf43jfgl8 17kl14hm46h4c9
    """
    show(session, session.call("GET", gateway_path(collection, gateway)))


@gateway.command("update")
@collection_option
@gateway_argument
@gateway_options
@api_options
@pass_session
def update_gateway(session: Session, /, collection: str, gateway: str, **fields: Any) -> None:
    """
    Change a gateway. Fields without an option keep their value, but --param replaces all parameters.

    A connected gateway gets the change at once (gatewayConfigUpdate); a disabled one is disconnected.

    Example:
      span-events gateway update -c 17dh0cf43jfgl8 17kl14hm46h4c9 --param region=US915 --tag floor=3
    """
    body = some_changes(_gateway_changes(**fields))
    show(session, session.call("PATCH", gateway_path(collection, gateway), body))


@gateway.command("move")
@collection_option
@gateway_argument
@click.argument("to", type=Reference("collection"))
@api_options
@pass_session
def move_gateway(session: Session, collection: str, gateway: str, to: str) -> None:
    """
    Move a gateway to the collection TO. It must have no devices. Its stream ends; it may connect again at once.

    Example:
      span-events gateway move -c 17dh0cf43jfgl8 17kl14hm46h4c9 17dh0cf43jfgl9
    """
    show(session, session.call("PATCH", gateway_path(collection, gateway), {"collectionId": to}))


@gateway.command("delete")
@collection_option
@gateway_argument
@yes_option
@api_options
@pass_session
def delete_gateway(session: Session, collection: str, gateway: str, yes: bool) -> None:
    """
    Delete a gateway, and the block of every device for it.

    Messages that wait for a device without another path are lost (downstreamFailed, refused).

    Example:
      span-events gateway delete -c 17dh0cf43jfgl8 17kl14hm46h4c9 --yes
    """
    confirm(f"Delete the gateway {gateway} and what devices have configured for it?", yes=yes)
    show_id(session, session.call("DELETE", gateway_path(collection, gateway)), "gatewayId")


@gateway.command("certs")
@collection_option
@gateway_argument
@api_options
@pass_session
def list_certificates(session: Session, collection: str, gateway: str) -> None:
    """
    List the certificates that were issued to a gateway, and until when they are valid.

    Example:
      span-events gateway certs -c 17dh0cf43jfgl8 17kl14hm46h4c9
    """
    show_certificates(session, gateway_path(collection, gateway))


@gateway.command("attach")
@collection_option
@gateway_argument
@device_option
@param_option
@api_options
@pass_session
def attach_device(session: Session, collection: str, gateway: str, device: str, params: dict[str, str]) -> None:
    """
    Attach a device to a gateway, with the parameters that the gateway needs; or replace these.

    Example:
      span-events gateway attach -c 17dh0cf43jfgl8 17kl14hm46h4c9 -d 17kl14hm46h4c2 --param devEui=0004a30b001a55ed
    """
    if not params:
        raise click.UsageError("Missing option '--param': a gateway knows a device by at least one parameter.")
    block = {gateway: {"gatewayId": gateway, "params": params}}
    show(session, session.call("PATCH", device_path(collection, device), {"config": {"gateway": block}}))


@gateway.command("detach")
@collection_option
@gateway_argument
@device_option
@api_options
@pass_session
def detach_device(session: Session, collection: str, gateway: str, device: str) -> None:
    """
    Take a device away from a gateway.

    Example:
      span-events gateway detach -c 17dh0cf43jfgl8 17kl14hm46h4c9 -d 17kl14hm46h4c2
    """
    show(session, session.call("PATCH", device_path(collection, device), {"config": {"gateway": {gateway: {}}}}))


def _gateway_changes(
    *, name: str | None, kind: str | None, params: dict[str, str], tags: dict[str, str], enabled: bool | None
) -> dict[str, Any]:
    body = changes(tags, enabled)
    body |= {key: value for key, value in (("name", name), ("type", kind)) if value}
    if params:
        body["config"] = {"user": {"params": params}}
    return body
