"""``user``: people who log in, written in the registry itself; needs no server, and a running one notices."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from span_events import ids
from span_events.cli.options import Group, Session, config_option, data_dir_option, json_option, pass_session
from span_events.cli.output import show_json, show_table, time_text
from span_events.cli.resources.opening import OpenRegistry, place_of, with_registry
from span_events.registry.accounts import User

F = TypeVar("F", bound=Callable[..., Any])

_MOST: Final = 1_000
"""Characters that are read of a password; the registry takes fewer."""

_password_stdin: Final = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input, without a prompt."
)


@click.group(cls=Group)
def user() -> None:
    """
    Users: add, list, delete, password.

    A user logs in with POST /dejavu/v1/login, as Span's clients do (`span login`). These commands open the registry in
    the data directory, as those of `token` do. A server that runs follows within a second.
    """


@user.command("add")
@data_dir_option
@config_option
@click.argument("email")
@click.option(
    "--resource",
    default="/",
    show_default=True,
    metavar="PATH",
    help="What the user reaches: / is everything, /collections/ID one collection, as of a token.",
)
@click.option("--write", is_flag=True, help="May also change things.")
@_password_stdin
@json_option
@pass_session
def add_user(
    session: Session,
    data_dir: Path,
    config: Path | None,
    email: str,
    resource: str,
    write: bool,
    password_stdin: bool,
) -> None:
    """
    Add a user; asks for a password of 12 characters or more.

    Examples:
      span-events user add alice@example.com --write
      span-events user add bob@example.com --resource /collections/17dh0cf43jfgl8 --password-stdin < FILE
    """
    password = _password(from_stdin=password_stdin)

    async def work(registry: OpenRegistry) -> tuple[User, str]:
        made = await registry.users.add(email, password, resource=resource, write=write)
        return made, await registry.missing(made.resource)

    made, missing = with_registry(data_dir, config, work, make=True)
    if missing:
        place = place_of(data_dir, config)
        click.echo(
            f"warning: There is no {missing} in the registry in {place}, so this user reaches nothing.", err=True
        )
    return show_json(_document(made)) if session.as_json else click.echo(made.email)


@user.command("list")
@data_dir_option
@config_option
@json_option
@pass_session
def list_users(session: Session, data_dir: Path, config: Path | None) -> None:
    """
    List the users; never their passwords.

    Example:
      span-events user list --data-dir /var/lib/span-events
    """

    async def work(registry: OpenRegistry) -> list[User]:
        return await registry.users.all()

    found = with_registry(data_dir, config, work)
    if session.as_json:
        return show_json({"users": [_document(each) for each in found]})
    return show_table(
        ("USER", "RESOURCE", "WRITE", "CREATED"),
        ((each.email, each.resource, "yes" if each.write else "no", time_text(each.created_ms)) for each in found),
        nothing="There are no users; `span-events user add` makes one.",
        fixed=2,
    )


@user.command("delete")
@data_dir_option
@config_option
@click.argument("email")
@json_option
@pass_session
def delete_user(session: Session, data_dir: Path, config: Path | None, email: str) -> None:
    """
    Delete a user. Logins and streams of the user end within a second.

    Example:
      span-events user delete alice@example.com
    """

    async def work(registry: OpenRegistry) -> None:
        await registry.users.delete(email)

    with_registry(data_dir, config, work)
    return show_json({"email": email}) if session.as_json else click.echo(email)


@user.command("password")
@data_dir_option
@config_option
@click.argument("email")
@_password_stdin
@json_option
@pass_session
def change_password(session: Session, data_dir: Path, config: Path | None, email: str, password_stdin: bool) -> None:
    """
    Set another password. Logins and streams of the user end within a second.

    Example:
      span-events user password alice@example.com
    """
    password = _password(from_stdin=password_stdin)

    async def work(registry: OpenRegistry) -> None:
        await registry.users.change_password(email, password)

    with_registry(data_dir, config, work)
    return show_json({"email": email}) if session.as_json else click.echo(email)


def _password(*, from_stdin: bool) -> str:
    """Ask for a password, or read it from a pipe; it is never an argument, which other users of the machine see."""
    if from_stdin:
        return sys.stdin.readline(_MOST).rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _document(user: User) -> dict[str, object]:
    return {
        "userId": ids.render(user.id),
        "email": user.email,
        "resource": user.resource,
        "write": user.write,
        "created": str(user.created_ms),
    }
