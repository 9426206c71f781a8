"""The frame of the command line: help, errors, and the status that it ends with."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import span_events
from span_events import __version__
from span_events.cli.commands import cli
from span_events.events import reasons
from span_events.events.activity import Reason
from span_events.events.catalogue import CATALOGUE
from tests.bench.ports import free_port
from tests.bench.waiting import PATIENCE
from tests.cli.bench import COLLECTION, DEVICE, TOKEN, Api, run

PROGRAM = [sys.executable, "-m", "span_events"]
RUN_MAIN = "from span_events.cli.main import main; main()"


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """List every command that does something, with its path."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, *path, name)


COMMANDS = list(commands(cli))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_help_text_has_an_example_that_parses(path: tuple[str, ...], command: click.Command) -> None:
    """An example that cannot be run is worse than none."""
    shown = CliRunner().invoke(cli, [*path, "--help"]).output
    name = f"span-events {' '.join(path)}"
    examples = [line for line in shown.splitlines() if name in line and line.startswith("    ")]

    assert examples
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for example in examples:
        words = shlex.split(example.partition(name)[2].partition(")")[0].partition("|")[0])
        assert {word for word in words if word.startswith("-") and word != "-"} <= known
        command.make_context(path[-1], words, resilient_parsing=True)


def test_hints_of_events_name_commands_that_there_are() -> None:
    """With their options, as a user types them."""
    closed_sets = [each for each in vars(reasons).values() if isinstance(each, type) and issubclass(each, Reason)]
    hints = [each.hint for each in CATALOGUE.values()] + [each.hint for every in closed_sets for each in every]
    named = [shlex.split(each) for hint in hints for each in re.findall(r"`span-events ([^`]*)`", hint)]

    assert len(named) > 5
    for words in named:
        command = next(command for path, command in COMMANDS if words[: len(path)] == list(path))
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known


def test_the_help_gives_each_command_a_line_of_80_columns() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).output
    listed = shown.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()

    assert [line.split()[0] for line in listed] == list(dict.fromkeys(path[0] for path, _ in COMMANDS))
    assert max(map(len, listed)) <= 80


def test_the_help_loads_neither_the_commands_nor_their_libraries() -> None:
    """A command that talks to no server starts in half the time without them."""
    loaded = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); sys.argv[1:] = ['--help']; {RUN_MAIN}"
    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert "span_events.cli.options" in result.stdout.split()
    assert not {"aiohttp", "websockets", "sqlalchemy", "span_events.cli.tail"} & set(result.stdout.split())


async def test_the_version_is_the_packages() -> None:
    result = await run("--version")

    assert result.output == f"span-events {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["frob"], "No such command 'frob'"),
        (["tail", "--frob"], "No such option '--frob'"),
        (["tail", "-s", "loud"], "'loud' is not one of"),
    ],
)
async def test_a_usage_error_names_the_fault_and_the_help(arguments: list[str], error: str) -> None:
    result = await run(*arguments)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert error in result.stderr
    assert "hint: `span-events" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (
            ["device", "list"],
            "Missing option '-c' / '--collection'",
            "Give -c or set SPAN_COLLECTION_ID; `span-events collection list` shows the ids.",
        ),
        (
            ["outbox", "list", "-c", COLLECTION],
            "Missing option '-d' / '--device'",
            "Give -d or set SPAN_DEVICE_ID; `span-events device list` shows the ids.",
        ),
        (
            ["device", "get", "-c", COLLECTION],
            "Missing argument 'DEVICE'",
            "Give DEVICE or set SPAN_DEVICE_ID; `span-events device list` shows the ids.",
        ),
        (
            ["outbox", "delete", "-c", COLLECTION, "-d", DEVICE, "XYZ"],
            "'XYZ' is not a message id: an id is 1 to 14 of the digits",
            "`span-events outbox list` shows the ids.",
        ),
    ],
)
async def test_a_missing_or_wrong_id_is_refused_with_the_command_that_lists_ids(
    arguments: list[str], error: str, hint: str
) -> None:
    """People know names; ids are found with a command."""
    result = await run(*arguments)

    assert result.exit_code == 2
    assert error in result.stderr
    assert f"\nhint: {hint}" in result.stderr


@pytest.mark.parametrize("path", [[], ["token"], ["device"], ["collection"], ["outbox"]], ids=" ".join)
async def test_a_group_alone_shows_its_help_with_status_2(path: list[str]) -> None:
    """The help as printed by --help, not an error in one line."""
    alone = await run(*path)
    asked = await run(*path, "--help")

    assert alone.exit_code == 2
    assert (alone.stdout, alone.stderr) == ("", asked.stdout)
    assert "\nCommands:\n" in alone.stderr


async def test_options_of_the_connection_may_stand_before_or_after_the_command() -> None:
    """The later one wins, as everywhere."""
    async with Api({"GET /span/collections": {"collections": []}}) as api:
        before = await run("--json", "--token", "a", "--endpoint", api.url, "collection", "list")
        after = await run("--token", "a", "collection", "list", "--token", "b", "--endpoint", api.url, "--json")
        from_environment = await run(
            "collection", "list", "--json", env={"SPAN_API_ENDPOINT": f"{api.url}/span/", "SPAN_API_TOKEN": "c"}
        )

    assert before.stdout == after.stdout == from_environment.stdout
    assert [call.token for call in api.calls] == ["a", "b", "c"]


async def test_an_option_of_the_connection_wins_over_the_environment_wherever_it_stands() -> None:
    """Else a command that names one server would change things on another."""
    other = {"SPAN_API_ENDPOINT": "http://127.0.0.1:1", "SPAN_API_TOKEN": "other"}
    async with Api({"GET /span/collections": {"collections": []}}) as api:
        before = await run("--endpoint", api.url, "--token", "a", "collection", "list", env=other)
        after = await run("collection", "list", "--token", "b", "--endpoint", api.url, env=other)

    assert (before.exit_code, after.exit_code) == (0, 0), before.stderr
    assert [call.token for call in api.calls] == ["a", "b"]


async def test_an_unreachable_server_is_reported_with_a_hint() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = await run("--endpoint", url, "--token", TOKEN, "collection", "list")

    assert result.exit_code == 5
    assert f"error: Nothing listens at {url} (connection refused)" in result.stderr
    assert "SPAN_API_ENDPOINT" in result.stderr


@pytest.mark.parametrize(
    ("endpoint", "hint"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("ws://127.0.0.1:8080", "makes ws:// of that itself"),
        ("http://127.0.0.1:x", "http:// or https://"),
    ],
)
async def test_an_endpoint_without_a_url_is_refused_with_a_hint(endpoint: str, hint: str) -> None:
    result = await run("--endpoint", endpoint, "collection", "list")

    assert result.exit_code == 1
    assert "error: The endpoint" in result.stderr
    assert hint in result.stderr


def test_ctrl_c_ends_with_130_and_without_a_traceback() -> None:
    with subprocess.Popen(
        [*PROGRAM, "collection", "delete", "17dh0cf43jfgl8"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        question = process.stderr.read(len("Delete the collection"))
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=PATIENCE)

    assert question == "Delete the collection"
    assert process.returncode == 130
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("span_events.cli.commands", ["--version"]),
        ("span_events.cli.resources.collections", ["collection", "list"]),
        ("span_events.client.api", ["collection", "list"]),
        ("span_events.app", ["serve"]),
    ],
)
def test_ctrl_c_while_modules_load_ends_with_130_and_without_a_word(
    module: str, arguments: list[str], tmp_path: Path
) -> None:
    """A user may press Ctrl-C at once; a traceback of imports would not help."""
    interrupts = f"""
import os, signal, sys
class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupter())
{RUN_MAIN}
"""
    result = subprocess.run(
        [sys.executable, "-c", interrupts, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(span_events.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_a_server_leaves_if_its_terminal_is_closed_while_modules_load() -> None:
    """Its process has no terminal any more when the signal comes; it must not serve on for ever."""
    loads = f"""
import os, signal, sys
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "span_events.cli.commands":
            woken, wakes = os.pipe()
            os.set_blocking(wakes, False)
            signal.set_wakeup_fd(wakes)
            os.write(1, b"!")
            os.read(woken, 1)  # until a signal has been handled
            os._exit(7)
sys.meta_path.insert(0, Slow())
{RUN_MAIN}
"""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", loads, "serve"], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        begun = os.read(ours, 1)
        os.close(ours)
        status = process.wait(PATIENCE)

    assert begun == b"!"
    assert status == 0


def test_no_file_gets_the_number_of_a_closed_standard_stream() -> None:
    """The database would be overwritten by the next traceback."""
    opens = """
import os, sys
from span_events.cli.loading import open_closed_streams
open_closed_streams()
streams = sys.stdout.fileno(), sys.stderr.fileno(), *(os.get_inheritable(each) for each in range(3))
sys.exit(5 if streams == (1, 2, True, True, True) and os.open(os.devnull, os.O_RDONLY) > 2 else 1)
"""
    closing = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    result = subprocess.run([*closing, sys.executable, "-c", opens], check=False, timeout=PATIENCE)

    assert result.returncode == 5


@pytest.mark.parametrize("arguments", [["events"], ["events", "--json"], ["--help"]], ids=" ".join)
def test_unwritable_output_exits_with_status_1(arguments: list[str]) -> None:
    """A full disk, with /dev/full for one."""
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE
        )

    assert result.returncode == 1
    assert result.stderr == "error: cannot write the output: No space left on device\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    """As in ``span-events events | head -1``."""
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [*PROGRAM, "events"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE
    )
    os.close(writing)

    assert result.returncode == 141
    assert result.stderr == ""
