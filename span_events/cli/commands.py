"""The command line: the table of commands, and the exit of every error."""

from __future__ import annotations

import difflib
import errno
import importlib
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from span_events import __version__
from span_events.cli.loading import INTERRUPTED, Loading, forget_output
from span_events.cli.options import Session, SpanId, debug_option, endpoint_option, json_option, token_option
from span_events.cli.output import printable
from span_events.errors import ConfigurationError, SpanEventsError

PIPE_CLOSED: Final = 141
"""Exit status after the reader of our output went away: 128 + SIGPIPE."""
_TOKEN: Final = re.compile(r"\b[0-9a-f]{64}\b")
DEFECT: Final = 70
"""Exit status after a defect of this program (EX_SOFTWARE, sysexits.h)."""
OUTPUT_FAILED: Final = 1
"""Exit status when our output cannot be written."""
_OF_OUTPUT: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write: an OSError with one of these and without a file name concerns our output."""


class Listed(NamedTuple):
    """A command that the help lists without loading it."""

    place: str
    """Module and name of the command."""
    summary: str
    """Its line in the help."""


_COMMANDS: Final = {
    "serve": Listed("span_events.cli.serve:serve", "Run the server until Ctrl-C or SIGTERM."),
    "tail": Listed("span_events.cli.tail:tail", "Show events as they happen, and what to try."),
    "expect": Listed("span_events.cli.expect:expect", "Wait for events in order; status 1 if they do not come."),
    "related": Listed("span_events.cli.related:related", "Show all events of one cause, in order, with the times."),
    "simulate": Listed("span_events.cli.simulate.devices:simulate", "Let simulated devices send, and do wrong things."),
    "events": Listed("span_events.cli.catalogue:events", "Explain events and their reasons; needs no server."),
    "guide": Listed("span_events.cli.guide:guide", "Read a guide, by subject; needs no server."),
    "config": Listed("span_events.cli.settings:config", "Settings of a server: show, check."),
    "backup": Listed("span_events.cli.backup:backup", "Write a data directory into one file."),
    "restore": Listed("span_events.cli.backup:restore", "Fill an empty data directory from a backup."),
    "token": Listed("span_events.cli.resources.tokens:token", "API tokens: create, list, delete."),
    "user": Listed("span_events.cli.resources.users:user", "Users: add, list, delete, password."),
    "collection": Listed("span_events.cli.resources.collections:collection", "Groups of devices: list, create, …"),
    "device": Listed("span_events.cli.resources.devices:device", "Devices: list, create, move, …"),
    "gateway": Listed("span_events.cli.resources.gateways:gateway", "Gateways: list, create, certs, …"),
    "output": Listed(
        "span_events.cli.resources.outputs:output", "Webhooks and other targets of events: list, create, …"
    ),
    "outbox": Listed("span_events.cli.resources.outbox:outbox", "Messages to a device: list, add, delete."),
    "cert": Listed("span_events.cli.resources.certs:cert", "Certificates of devices and gateways: create, sign, …"),
    "firmware": Listed("span_events.cli.firmware.commands:firmware", "Firmware images: upload, list, monitor, …"),
    "blob": Listed("span_events.cli.resources.blobs:blob", "Large uploads of devices: list, get, delete."),
}
"""All commands, in the order of the help; a command's module is imported when the command is used."""


class Commands(click.Group):
    """The top of the command line: loads commands when they are used, and shows every error in one way."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None for an unknown name."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].place.partition(":")
        with Loading():
            command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in the help; to load all of them would take four times as long."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.summary) for name, each in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest one for a mistyped name."""
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, _COMMANDS, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"No such command {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a closed pipe ends it quietly."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            forget_output()
            ctx.exit(PIPE_CLOSED)
        return result

    def main(  # type: ignore[override]  # click gives Any or never returns, by a flag that nobody sets here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> None:
        """Run, and end the process with the status that scripts and supervisors rely on."""
        extra["standalone_mode"] = False
        try:
            status = super().main(args, prog_name or "span-events", **extra)
        except SpanEventsError as exc:
            status = _report(exc)
        except click.exceptions.NoArgsIsHelpError as exc:
            exc.show()
            status = exc.exit_code
        except click.UsageError as exc:
            status = _print_errors(exc.exit_code, [exc.format_message()], _advice(exc))
        except click.ClickException as exc:
            status = _print_errors(exc.exit_code, [exc.format_message()])
        except (click.Abort, KeyboardInterrupt):
            status = INTERRUPTED
        except OSError as exc:
            if exc.filename is not None or exc.errno not in _OF_OUTPUT:
                status = _defect(exc)
            else:
                forget_output()
                status = _print_errors(OUTPUT_FAILED, [f"cannot write the output: {exc.strerror}"])
        except Exception as exc:
            status = _defect(exc)
        sys.exit(status if isinstance(status, int) else 0)


def _defect(error: Exception) -> int:
    """
    Print that the program has a defect, and return its exit status.

    The traceback is printed only with ``--debug``, as it may hold user input.
    """
    if Session.debug:
        shown = _TOKEN.sub("(token)", "".join(traceback.format_exception(error)))
        click.echo(shown, err=True, nl=False)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
    return _print_errors(
        DEFECT,
        [f"This is a defect of span-events {__version__}, not yours: {where}"],
        "`span-events --debug …` shows more; report that, without tokens." if not Session.debug else "",
    )


def _advice(error: click.UsageError) -> str:
    """Return the hint of a usage error."""
    if isinstance(error, click.BadParameter) and error.param is not None and isinstance(error.param.type, SpanId):
        hint = error.param.type.hint(error.param, missing=isinstance(error, click.MissingParameter))
        if hint:
            return hint
    command = error.ctx.command_path if error.ctx else "span-events"
    return f"`{command} --help` shows what it takes, with examples."


def _report(error: SpanEventsError) -> int:
    lines = error.faults if isinstance(error, ConfigurationError) else str(error).splitlines()
    return _print_errors(error.exit_status, lines, error.hint)


def _print_errors(status: int, errors: Sequence[str], hint: str = "") -> int:
    for each in errors:
        click.echo(f"error: {printable(each)}", err=True)  # a server's message may quote a device's text
    if hint:
        click.echo(f"hint: {printable(hint)}", err=True)
    return status


@click.group(
    "span-events",
    cls=Commands,
    epilog="\b\nA device does not connect? Start here:\n"
    "  span-events tail -n 50                   everything that arrives, and why it was refused\n"
    "                                           (with a token for /, also what comes from an unknown address)\n"
    "  span-events device list -c COLLECTION    which address each device is expected at\n"
    "  span-events events messageRejected       what an event means, and every reason it can give\n"
    "  span-events guide                        the guides, one subject each",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@endpoint_option
@token_option
@json_option
@debug_option
@click.version_option(__version__, prog_name="span-events", message="%(prog)s %(version)s")
def cli() -> None:
    """
    See, live, what cellular IoT devices do and why a step failed.

    `serve` runs a server, `tail` watches one, `simulate` gives it devices; the others show and change
    what it knows. serve, config, backup, restore, token and user work on the data directory; the others speak
    to a running server: --endpoint says where it is, --token what you may see.
    """
