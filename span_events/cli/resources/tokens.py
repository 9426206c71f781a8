"""``token``: API tokens, created and deleted in the registry itself; needs no server, and a running one notices."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import click

from span_events import config as configuration
from span_events import ids
from span_events.auth.tokens import Tokens
from span_events.cli.options import Group, Session, SpanId, config_option, data_dir_option, json_option, pass_session
from span_events.cli.output import show_json, show_table, time_text
from span_events.clock import SystemClock
from span_events.errors import NotFound
from span_events.ids import IdGenerator
from span_events.registry import location
from span_events.registry.model import Token
from span_events.registry.store import Store

T = TypeVar("T")

_NEW: Final = " (new: no server has used it yet)"
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
@json_option
@pass_session
def create_token(session: Session, data_dir: Path, config: Path | None, resource: str, write: bool, name: str) -> None:
    """
    Create a token and print its text, which cannot be shown again.

    Examples:
      export SPAN_API_TOKEN=$(span-events token create --resource / --write)
      span-events token create --resource /collections/17dh0cf43jfgl8 --name dashboard
    """

    async def work(registry: _Registry) -> tuple[Token, str, str]:
        made, text = await registry.tokens.create(resource=resource, write=write, name=name)
        return made, text, await registry.missing(made.resource)

    where = _place(data_dir, config)  # looked at before it is made
    made, text, missing = _with_registry(data_dir, config, work, make=True)
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
        f"its text is not shown again.{_ELSEWHERE if where.endswith(_NEW) else ''}",
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

    async def work(registry: _Registry) -> list[Token]:
        return registry.tokens.all()

    found = _with_registry(data_dir, config, work)
    if session.as_json:
        return show_json({"tokens": [_document(each) for each in found]})
    return show_table(
        ("TOKEN", "RESOURCE", "WRITE", "CREATED", "NAME"),
        (
            (ids.render(each.id), each.resource, "yes" if each.write else "no", time_text(each.created_ms), each.name)
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

    async def work(registry: _Registry) -> bool:
        return await registry.tokens.delete(ids.parse(token, what="token"))

    if not _with_registry(data_dir, config, work):
        raise NotFound(
            f"There is no token {token}", hint="`span-events token list` shows the ids, in the same data directory."
        )
    if session.as_json:
        return show_json({"tokenId": token})
    return click.echo(token)


@dataclass(frozen=True, slots=True)
class _Registry:
    """The registry, open while a command works."""

    store: Store
    tokens: Tokens

    async def missing(self, resource: str) -> str:
        """Return the missing part of a resource (``collection 17dh…``); empty if all exists."""
        words = resource.strip("/").split("/")
        named = dict(zip(words[::2], words[1::2], strict=False))
        if "collections" not in named:
            return ""
        contents = await self.store.load()
        if named["collections"] not in {ids.render(each.id) for each in contents.collections}:
            return f"collection {named['collections']}"
        members = {ids.render(each.id) for each in contents.devices if ids.render(each.collection.id) == words[1]}
        if "devices" in named and named["devices"] not in members:
            return f"device {named['devices']} in collection {named['collections']}"
        return ""


def _place(data_dir: Path, config: Path | None) -> str:
    """Print the registry in use: a wrong folder would create a new one, with a token that no server knows."""
    registry = configuration.load(config).registry
    if registry.url:
        return "the database of registry.url"
    database = Path(location.database_url(registry, data_dir).partition(":///")[2])
    return str(data_dir.resolve()) + ("" if database.exists() else _NEW)


def _with_registry(
    data_dir: Path, config: Path | None, work: Callable[[_Registry], Awaitable[T]], *, make: bool = False
) -> T:
    """Open the registry for some work; only ``make`` brings a new one into being."""
    settings = configuration.load(config)
    if not make and not settings.registry.url and not data_dir.is_dir():
        raise NotFound(
            f"There is no data directory {data_dir}", hint="--data-dir says where the server keeps its data."
        )
    location.prepare(data_dir)

    async def within() -> T:
        store = Store(location.database_url(settings.registry, data_dir))
        await store.open()
        try:
            identifiers = IdGenerator(secrets.randbelow(ids.NODES))  # a server and other commands may run beside us
            tokens = Tokens(store, identifiers, SystemClock())
            await tokens.load()
            return await work(_Registry(store, tokens))
        finally:
            await store.close()

    return asyncio.run(within())


def _document(token: Token) -> dict[str, object]:
    return {
        "tokenId": ids.render(token.id),
        "resource": token.resource,
        "write": token.write,
        "name": token.name,
        "created": str(token.created_ms),
    }
