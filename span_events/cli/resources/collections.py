"""``collection``: list, create, get, update and delete collections through the API."""

from __future__ import annotations

import click

from span_events.cli.options import (
    Group,
    Session,
    api_options,
    collection_argument,
    enabled_option,
    pass_session,
    tag_option,
    yes_option,
)
from span_events.cli.output import show_json, show_table, tags_text
from span_events.cli.resources.common import changes, collection_path, confirm, show, show_id, some_changes, yes_no


@click.group(cls=Group)
def collection() -> None:
    """Groups of devices: list, create, get, update, delete."""


@collection.command("list")
@api_options
@pass_session
def list_collections(session: Session) -> None:
    """
    List the collections that your token reaches.

    Example:
      span-events collection list
    """
    reply = session.call("GET", collection_path())
    if session.as_json:
        return show_json(reply)
    return show_table(
        ("COLLECTION", "ENABLED", "TAGS"),
        (
            (each["collectionId"], yes_no(each.get("enabled", True)), tags_text(each.get("tags")))
            for each in reply.get("collections") or ()
        ),
        nothing="There is no collection yet; `span-events collection create --tag name=lab` makes one.",
    )


@collection.command("create")
@tag_option
@enabled_option
@api_options
@pass_session
def create_collection(session: Session, tags: dict[str, str], enabled: bool | None) -> None:
    """
    Create a collection and print its id.

    Example:
      export SPAN_COLLECTION_ID=$(span-events collection create --tag name=lab)
    """
    show_id(session, session.call("POST", collection_path(), changes(tags, enabled)), "collectionId")


@collection.command("get")
@collection_argument
@api_options
@pass_session
def get_collection(session: Session, collection: str) -> None:
    """
    Show a collection.

    Example:
      span-events collection get 17dh0cf43jfgl8
    """
    show(session, session.call("GET", collection_path(collection)))


@collection.command("update")
@collection_argument
@tag_option
@enabled_option
@api_options
@pass_session
def update_collection(session: Session, collection: str, tags: dict[str, str], enabled: bool | None) -> None:
    """
    Change a collection. Fields without an option keep their value.

    A disabled collection refuses the messages of all its devices (messageRejected, collectionDisabled).

    Example:
      span-events collection update 17dh0cf43jfgl8 --enable --tag name=field
    """
    show(session, session.call("PATCH", collection_path(collection), some_changes(changes(tags, enabled))))


@collection.command("delete")
@collection_argument
@yes_option
@api_options
@pass_session
def delete_collection(session: Session, collection: str, yes: bool) -> None:
    """
    Delete a collection. It must have no devices any more.

    Example:
      span-events collection delete 17dh0cf43jfgl8 --yes
    """
    confirm(f"Delete the collection {collection}?", yes=yes)
    show_id(session, session.call("DELETE", collection_path(collection)), "collectionId")
