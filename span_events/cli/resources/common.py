"""Parts that the commands of all resources share: paths, request bodies, output, the question before a deletion."""

from __future__ import annotations

from typing import Any

import click

from span_events.cli.options import Session
from span_events.cli.output import show_fields, show_json


def collection_path(collection: str = "") -> str:
    """Return the path of a collection, or of all."""
    return "/span/collections" + (f"/{collection}" if collection else "")


def device_path(collection: str, device: str = "") -> str:
    """Return the path of a device, or of all of a collection."""
    return collection_path(collection) + "/devices" + (f"/{device}" if device else "")


def confirm(question: str, *, yes: bool) -> None:
    """
    Ask before something is lost, unless ``--yes`` was given.

    Raises:
        ClickException: The answer is no.
    """
    if not yes and not click.confirm(question, err=True):
        raise click.ClickException("Nothing was changed.")


def changes(tags: dict[str, str], enabled: bool | None) -> dict[str, Any]:
    """Build the common part of a request's body."""
    body: dict[str, Any] = {}
    if tags:
        body["tags"] = tags
    if enabled is not None:
        body["enabled"] = enabled
    return body


def some_changes(body: dict[str, Any]) -> dict[str, Any]:
    """Make sure that an update changes something."""
    if not body:
        raise click.UsageError("Nothing to change: name at least one option, --tag or --disable for example.")
    return body


def show(session: Session, document: dict[str, Any]) -> None:
    """Print one resource."""
    (show_json if session.as_json else show_fields)(document)


def show_id(session: Session, document: dict[str, Any], key: str) -> None:
    """Print the id alone, so that a script can take it."""
    if session.as_json:
        show_json(document)
    else:
        click.echo(document.get(key, ""))


def yes_no(value: object) -> str:
    """Write a truth."""
    return "yes" if value else "no"
