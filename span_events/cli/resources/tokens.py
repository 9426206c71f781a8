"""``token``: API tokens, created and deleted in the registry itself; needs no server, and a running one notices."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from span_events import ids
from span_events.cli.options import (
    Duration,
    Group,
    Session,
    SpanId,
    config_option,
    data_dir_option,
    json_option,
    pass_session,
)
from span_events.cli.output import show_json, show_table, time_text
from span_events.cli.resources.opening import NEW, OpenRegistry, place_of, with_registry
from span_events.errors import NotFound
from span_events.registry.model import Token

_ELSEWHERE: Final = " If your server has its data elsewhere, --data-dir says where."


@click.group(cls=Group)
def token() -> None:
    """
    API tokens: create, list, delete.

    These commands open the registry in the data directory, so they need no token themselves and work before a server
    ever ran. A server that runs follows within a second.
    """


@token.command("create")
@data_dir_option
@config_option
@click.option(
    "--resource",
    default="/",
    show_default=True,
    metavar="PATH",
    help="What it reaches: / is everything, /collections/ID one collection, /collections/ID/devices/ID one device.",
)
@click.option("--write", is_flag=True, help="May also change things. Such a token is refused in the query of a URL.")
@click.option("--name", default="", metavar="TEXT", help="What it is for; shown by `token list`.")
@click.option("--expires", type=Duration(), default=0.0, help="Time until it expires, such as 30d; default never.")
@json_option
@pass_session
def create_token(
    session: Session, data_dir: Path, config: Path | None, resource: str, write: bool, name: str, expires: float
) -> None:
    """
    Create a token and print its text, which cannot be shown again.

    Examples:
      export SPAN_API_TOKEN=$(span-events token create --resource / --write)
      span-events token create --resource /collections/17dh0cf43jfgl8 --name dashboard --expires 30d
    """

    async def work(registry: OpenRegistry) -> tuple[Token, str, str]:
        made, text = await registry.tokens.create(resource=resource, write=write, name=name, lifetime=expires)
        return made, text, await registry.missing(made.resource)

    where = place_of(data_dir, config)  # looked at before it is made
    made, text, missing = with_registry(data_dir, config, work, make=True)
    if missing:
        click.echo(
            f"warning: There is no {missing} in the registry in {where}, so this token reaches nothing there. "
            "--data-dir names the one of your server.",
            err=True,
        )
    if session.as_json:
        return show_json({**_document(made), "token": text})
    click.echo(text)
    rights = "reads and writes" if made.write else "reads"
    return click.echo(
        f"hint: token {ids.render(made.id)} {rights} {made.resource} of the server whose data is in {where}; "
        f"its text is not shown again.{_ELSEWHERE if where.endswith(NEW) else ''}",
        err=True,
    )


@token.command("list")
@data_dir_option
@config_option
@json_option
@pass_session
def list_tokens(session: Session, data_dir: Path, config: Path | None) -> None:
    """
    List the tokens; never their text.

    Example:
      span-events token list --data-dir /var/lib/span-events
    """

    async def work(registry: OpenRegistry) -> tuple[list[Token], dict[int, int]]:
        return registry.tokens.all(), await registry.store.token_uses()

    found, used = with_registry(data_dir, config, work)
    if session.as_json:
        return show_json({"tokens": [{**_document(each), "lastUse": str(used.get(each.id, 0))} for each in found]})
    return show_table(
        ("TOKEN", "RESOURCE", "WRITE", "CREATED", "LAST USE", "EXPIRES", "NAME"),
        (
            (
                *(ids.render(each.id), each.resource, "yes" if each.write else "no", time_text(each.created_ms)),
                *(time_text(used[each.id]) if each.id in used else "never",),
                *(time_text(each.expires_ms) if each.expires_ms else "never", each.name),
            )
            for each in found
        ),
        nothing="There are no tokens; `span-events token create` makes one.",
        fixed=2,
    )


@token.command("delete")
@data_dir_option
@config_option
@click.argument("token", type=SpanId("token"))
@json_option
@pass_session
def delete_token(session: Session, data_dir: Path, config: Path | None, token: str) -> None:
    """
    Delete a token by the id that `token list` shows. Streams that it opened end within a second.

    Example:
      span-events token delete 17kl14hm46h4c2
    """

    async def work(registry: OpenRegistry) -> bool:
        return await registry.tokens.delete(ids.parse(token, what="token"))

    if not with_registry(data_dir, config, work):
        raise NotFound(
            f"There is no token {token}", hint="`span-events token list` shows the ids, in the same data directory."
        )
    if session.as_json:
        return show_json({"tokenId": token})
    return click.echo(token)


def _document(token: Token) -> dict[str, object]:
    return {
        "tokenId": ids.render(token.id),
        "resource": token.resource,
        "write": token.write,
        "name": token.name,
        "created": str(token.created_ms),
        "expires": str(token.expires_ms),
    }
