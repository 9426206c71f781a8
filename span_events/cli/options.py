"""Shared options of the commands: server address, token, ids, tags; and one request to the API."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import click
from click.core import ParameterSource

from span_events import ids
from span_events.cli import references
from span_events.cli.loading import Loading
from span_events.cli.output import printable
from span_events.errors import InvalidRequest, where_ids_are

if TYPE_CHECKING:
    from span_events.client.api import Client

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:8080"
"""Default address of `serve`."""

_MOST_DIGITS: Final = 18
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, None: 1.0}

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Session:
    """Values of the options before and after the command's name."""

    endpoint: str = DEFAULT_ENDPOINT
    token: str = ""
    as_json: bool = False
    debug: ClassVar[bool] = False
    """Whether a defect of this program shows its traceback."""

    def client(self) -> Client:
        """Make a client of the API; a context manager."""
        with Loading():
            from span_events.client.api import Client  # noqa: PLC0415  # half of the start of a command without it

        return Client(self.endpoint, self.token, on_warning=_show_warning)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Make one request (`Client.request` knows the options) and return the reply's document."""

        async def once(client: Client) -> dict[str, Any]:
            return await client.request(method, path, body, **options)

        return self.run(once)

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run a coroutine function with a client."""
        unopened = self.client()  # loads modules, before the event loop handles Ctrl-C

        async def within() -> T:
            async with unopened as client:
                return await work(client)

        return asyncio.run(within())


def _show_warning(warning: str) -> None:
    """Print what the server ignored of a request."""
    click.echo(f"warning: {printable(warning)}", err=True)


class Command(click.Command):
    """A command whose help keeps the line breaks of its examples."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        # click rewraps every paragraph that does not begin with a backspace.
        text = inspect.cleandoc(settings.pop("help", None) or "")
        settings["help"] = re.sub(r"^Examples?:$", "\b\n\\g<0>", text, flags=re.MULTILINE)
        super().__init__(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, after the references to collections, devices and gateways became ids."""
        given = [each for each in self.params if isinstance(each.type, Reference) and ctx.params.get(each.name or "")]
        for parameter in sorted(given, key=lambda each: each.name != "collection"):  # the others are in it
            assert parameter.name is not None
            assert isinstance(parameter.type, Reference)
            session, collection = ctx.ensure_object(Session), ctx.params.get("collection")
            ctx.params[parameter.name] = parameter.type.resolve(session, ctx.params[parameter.name], collection)
        return super().invoke(ctx)


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command


pass_session = click.make_pass_decorator(Session, ensure=True)
"""Hand the `Session` to a command as its first argument."""


class Duration(click.ParamType[float]):
    """A time such as ``500ms``, ``60s``, ``5m`` or ``30d``; a number alone is seconds."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value))
        if found is None or float(found[1]) <= 0:
            self.fail(f"{value!r} is no time such as 500ms, 60s, 5m or 30d", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    session = ctx.ensure_object(Session)
    assert parameter.name is not None
    from_environment = ctx.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT
    if from_environment and ctx.parent is not None:
        return  # the program has read it already, below its own options
    if value:  # an option after the command's name wins; an absent one changes nothing
        setattr(session, parameter.name, value)


def _session_option(*names: str, **settings: Any) -> Callable[[F], F]:
    return click.option(*names, callback=_remember, expose_value=False, **settings)


endpoint_option: Final = _session_option(
    "--endpoint",
    metavar="URL",
    envvar="SPAN_API_ENDPOINT",
    help=f"Where the server is, http or https. [env: SPAN_API_ENDPOINT; default: {DEFAULT_ENDPOINT}]",
)
token_option: Final = _session_option(
    "--token",
    metavar="TOKEN",
    envvar="SPAN_API_TOKEN",
    help="API token; `span-events token create` makes one. [env: SPAN_API_TOKEN]",
)
debug_option: Final = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=lambda _ctx, _parameter, value: setattr(Session, "debug", value),
    help="Show the traceback of a defect of this program.",
)
json_option: Final = _session_option(
    "--json", "as_json", is_flag=True, help="JSON for scripts instead of text for people."
)


def api_options(command: F) -> F:
    """Add ``--endpoint``, ``--token`` and ``--json`` to a command."""
    return endpoint_option(token_option(json_option(command)))


class SpanId(click.ParamType[str]):
    """An id, checked before any request is made."""

    def __init__(self, what: str) -> None:
        self.name = what.upper()
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id as the server writes it."""
        try:
            return ids.render(ids.parse(str(value).strip(), what=self._what))
        except InvalidRequest as exc:
            self.fail(exc.detail, param, ctx)

    def hint(self, param: click.Parameter, *, missing: bool) -> str:
        """Return the hint which command lists such ids, and which option takes one; empty if none does."""
        where = where_ids_are(self._what)
        if not missing or not where:
            return where
        given = param.opts[0] if isinstance(param, click.Option) else param.human_readable_name
        variable = f" or set {param.envvar}" if isinstance(param.envvar, str) else ""
        return f"Give {given}{variable}; {where}"


class Reference(SpanId):
    """A collection, device or gateway by id or name; the command resolves it before it runs."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the reference as it was given."""
        text = str(value).strip()
        if not text:
            self.fail(f"the {self._what} is empty", param, ctx)
        return text

    def resolve(self, session: Session, given: str | tuple[str, ...], collection: str | None) -> Any:
        """Return the id of a reference, or the ids of several."""

        def fetch(path: str) -> dict[str, Any]:
            return session.call("GET", path)

        if isinstance(given, tuple):
            return tuple(references.resolve(fetch, self._what, each, collection=collection) for each in given)
        return references.resolve(fetch, self._what, given, collection=collection)


class WholeNumber(click.ParamType[int]):
    """A number from 0 on."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
            return int(text)
        option = param.opts[-1] if param is not None else self.name
        below = text.startswith("-") and text[1:].isdigit()
        raise click.UsageError(f"{option}: {text[:40]!r} is {'below 0' if below else 'not a whole number'}", ctx)


collection_option: Final = click.option(
    "-c",
    "--collection",
    type=Reference("collection"),
    envvar="SPAN_COLLECTION_ID",
    required=True,
    help="The collection: its id, or tag `name`. [env: SPAN_COLLECTION_ID]",
)
device_option: Final = click.option(
    "-d",
    "--device",
    type=Reference("device"),
    envvar="SPAN_DEVICE_ID",
    required=True,
    help="The device: its id, tag `name`, IMSI, IMEI or address. [env: SPAN_DEVICE_ID]",
)
collection_argument: Final = click.argument("collection", type=Reference("collection"), envvar="SPAN_COLLECTION_ID")
device_argument: Final = click.argument("device", type=Reference("device"), envvar="SPAN_DEVICE_ID")
enabled_option: Final = click.option(
    "--enable/--disable",
    "enabled",
    default=None,
    help="Whether messages are accepted; a disabled one is refused, visibly.",
)
yes_option: Final = click.option("-y", "--yes", "--yes-i-am-sure", "yes", is_flag=True, help="Do not ask.")
data_dir_option: Final = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, readable=False, path_type=Path),  # the opening tells the reason
    default=Path("var"),
    show_default="./var",
    metavar="DIR",
    help="Where the server keeps its data.",
)
config_option: Final = click.option(
    "--config",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    metavar="FILE",
    help="Settings; `span-events config show` explains every one. Without it: defaults and SPAN_EVENTS_… variables.",
)


def pairs_of(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read the values of an option that is ``NAME=VALUE``."""
    pairs = {}
    for each in values:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE", ctx, parameter)
        pairs[name] = value
    return pairs


param_option: Final = click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    callback=pairs_of,
    help="A parameter that the gateway gets; may be repeated. Those given replace all present ones.",
)
tag_option: Final = click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME=VALUE",
    callback=pairs_of,
    help="Add or change a tag; may be repeated. The tag `name` is shown beside the id.",
)
