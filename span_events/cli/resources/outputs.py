"""``output``: manage outputs (webhooks and others) through the API."""

from __future__ import annotations

from typing import Any

import click

from span_events.cli.options import (
    Group,
    Session,
    SpanId,
    api_options,
    collection_option,
    pairs_of,
    pass_session,
    tag_option,
    yes_option,
)
from span_events.cli.output import show_json, show_table, tags_text, time_text
from span_events.cli.resources.common import changes, collection_path, confirm, show, show_id, some_changes

_TYPES = ("webhook", "udpout", "mqttclient", "ifttt")
_TRUTHS = ("asIsPayload", "disableCertCheck")
_output_argument = click.argument("output", type=SpanId("output"))
_url_option = click.option("--url", help="URL of a webhook.")
_content_option = click.option(
    "--content", type=click.Choice(["messages", "activity"]), help="Send upstream messages, or activity events."
)
_format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["span", "things-stack", "cloudevents", "chirpstack", "chirpstack-protobuf"]),
    help="Dialect of the events.",
)
_enabled_option = click.option(
    "--enable/--disable", "enabled", default=None, help="Whether it sends; what comes while it is disabled is not sent."
)
_set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    callback=pairs_of,
    help="Another setting, by its name in the API; may be repeated. `span-events guide outputs` lists them.",
)


@click.group(cls=Group)
def output() -> None:
    """Webhooks and other targets of messages and events: list, add, show, update, delete, logs."""


@output.command("list")
@collection_option
@api_options
@pass_session
def list_outputs(session: Session, collection: str) -> None:
    """
    List the outputs of a collection, with their health.

    Example:
      span-events output list -c 17dh0cf43jfgl8
    """
    reply = session.call("GET", _path(collection))
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("OUTPUT", "TYPE", "TARGET", "STATE", "FORWARDED", "ERRORS", "DROPPED", "TAGS"),
        (_row(session, collection, each) for each in reply.get("outputs") or ()),
        nothing="There is no output; `span-events output add webhook --url URL` makes one.",
        optional=("TAGS",),
    )


@output.command("add")
@collection_option
@click.argument("type_", metavar="TYPE", type=click.Choice(_TYPES))
@_url_option
@_content_option
@_format_option
@_set_option
@tag_option
@_enabled_option
@api_options
@pass_session
def add_output(session: Session, /, collection: str, type_: str, **given: Any) -> None:
    """
    Add an output and print its id.

    Examples:
      span-events output add webhook --url https://example.com/hook
      span-events output add webhook --url https://example.com/hook --content activity --format cloudevents
      span-events output add udpout --set host=example.com --set port=4000
    """
    body = {"type": type_} | _body(**given)
    show_id(session, session.call("POST", _path(collection), body), "outputId")


@output.command("show")
@collection_option
@_output_argument
@api_options
@pass_session
def show_output(session: Session, collection: str, output: str) -> None:
    """
    Show an output, its settings and its counters.

    Example:
      span-events output show 17kl1b3c9d4e20
    """
    document, status = (session.call("GET", _path(collection, output) + each) for each in ("", "/status"))
    if not session.as_json:  # as text: no counter is a time, and 0 is shown
        names = {"received": "accepted", "errorCount": "errors"}
        counters = {name: each for name, each in status.items() if isinstance(each, int)}
        status = {names.get(name, name): str(each).lower() for name, each in counters.items() if name != "enabled"}
    show(session, document | {"status": status})


@output.command("update")
@collection_option
@_output_argument
@_url_option
@_content_option
@_format_option
@_set_option
@tag_option
@_enabled_option
@api_options
@pass_session
def update_output(session: Session, /, collection: str, output: str, **given: Any) -> None:
    """
    Change an output. Settings without an option keep their value; an empty value clears one.

    Example:
      span-events output update 17kl1b3c9d4e20 --disable
    """
    show(session, session.call("PATCH", _path(collection, output), some_changes(_body(**given))))


@output.command("delete")
@collection_option
@_output_argument
@yes_option
@api_options
@pass_session
def delete_output(session: Session, collection: str, output: str, yes: bool) -> None:
    """
    Delete an output. Messages that wait for it are lost.

    Example:
      span-events output delete 17kl1b3c9d4e20 --yes
    """
    confirm(f"Delete the output {output}?", yes=yes)
    show_id(session, session.call("DELETE", _path(collection, output)), "outputId")


@output.command("logs")
@collection_option
@_output_argument
@api_options
@pass_session
def show_logs(session: Session, collection: str, output: str) -> None:
    """
    Show the last errors of an output, the oldest first.

    Example:
      span-events output logs 17kl1b3c9d4e20
    """
    reply = session.call("GET", _path(collection, output) + "/logs")
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("TIME", "TIMES", "ERROR"),
        (
            (time_text(each.get("time")), str(int(each.get("repeated") or 0) + 1), str(each.get("message") or ""))
            for each in reply.get("logs") or ()
        ),
        nothing="No delivery has failed since the server started.",
    )


def _path(collection: str, output: str = "") -> str:
    return collection_path(collection) + "/outputs" + (f"/{output}" if output else "")


def _body(
    url: str | None,
    content: str | None,
    format_: str | None,
    settings: dict[str, str],
    tags: dict[str, str],
    enabled: bool | None,
) -> dict[str, Any]:
    named = {"url": url, "content": content, "format": format_}
    config: dict[str, Any] = {name: text for name, text in named.items() if text is not None} | settings
    for name in _TRUTHS:
        if name in config:
            config[name] = config[name] == "true"
    if "port" in config and config["port"].isdigit():
        config["port"] = int(config["port"])
    body = changes(tags, enabled)
    return body | {"config": config} if config else body


def _row(session: Session, collection: str, document: dict[str, Any]) -> tuple[str, ...]:
    status = session.call("GET", _path(collection, document["outputId"]) + "/status")
    config = document.get("config") or {}
    host = f"{config['host']}:{config.get('port')}" if config.get("host") else ""
    state = "failing" if status.get("failing") else "ok"
    return (
        document["outputId"],
        str(document.get("type")),
        str(config.get("url") or host or config.get("endpoint") or config.get("eventName") or ""),
        state if document.get("enabled", True) else "disabled",
        *(str(status.get(name) or 0) for name in ("forwarded", "errorCount", "dropped")),
        tags_text(document.get("tags")),
    )
