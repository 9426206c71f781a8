"""The command line when something is wrong: no traceback, no token, and what to do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from span_events.cli.options import Session
from tests.bench.live import LiveServer
from tests.bench.programs import PROGRAM, Program
from tests.bench.programs import run as run_program
from tests.cli.bench import COLLECTION, TOKEN, Api, run


async def test_core_14_an_untrusted_certificate_is_one_sentence(tmp_path: Path) -> None:
    """In every command that speaks to the API."""
    with LiveServer(tmp_path) as server:
        endpoint = f"https://{server.addresses['blobs_tls']}"
        results = [
            await run("--endpoint", endpoint, "--token", TOKEN, *command)
            for command in (("collection", "list"), ("device", "list", "-c", COLLECTION))
        ]

    for each in results:
        assert each.exit_code == 5
        assert f"error: The certificate of {endpoint} is not trusted: " in each.stderr
        assert "hint: SSL_CERT_FILE=" in each.stderr
        assert len(each.stderr.splitlines()) == 2


def words(line: str) -> list[str]:
    """Split a line of a terminal, without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", line).split()


@pytest.mark.parametrize("around", ["\n", " ", "\r\n"])
async def test_core_14_white_space_around_a_token_is_no_part_of_it(around: str) -> None:
    """A file that holds a token ends with a newline."""
    async with Api({"GET /span/collections": {"collections": []}}) as api:
        result = await run("collection", "list", "--endpoint", api.url, env={"SPAN_API_TOKEN": TOKEN + around})

    assert result.exit_code == 0
    assert api.calls[0].token == TOKEN


@pytest.mark.parametrize("command", [("collection", "list"), ("tail",)])
@pytest.mark.parametrize("token", [f"{TOKEN}\nX: y", f"{TOKEN}\x00", f"{TOKEN}é"])
async def test_core_14_a_token_that_cannot_be_one_is_not_printed(command: tuple[str, ...], token: str) -> None:
    async with Api() as api:
        result = await run(*command, "--endpoint", api.url, "--token", token)

    assert result.exit_code == 1
    assert result.stderr.startswith("error: The token holds a character that no token has\nhint: ")
    assert TOKEN not in result.output
    assert api.calls == []


@pytest.mark.parametrize("debug", [False, True])
async def test_core_14_a_defect_says_that_it_is_ours(monkeypatch: pytest.MonkeyPatch, debug: bool) -> None:
    """The traceback comes on request, without tokens."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"unforeseen: {TOKEN}")

    monkeypatch.setattr(Session, "call", fail)
    result = await run(*["--debug"] * debug, "collection", "list", "--token", TOKEN)

    assert result.exit_code == 70
    assert "error: This is a defect of span-events" in result.stderr
    assert "RuntimeError in test_command_line.py, line " in result.stderr
    assert ("Traceback" in result.stderr) is debug
    assert ("--debug" in result.stderr) is not debug
    assert TOKEN not in result.output


async def test_core_15_a_narrow_terminal_gets_fewer_columns() -> None:
    """No address and no IMSI is torn; what is left out is named."""
    device = {
        "deviceId": "17kl14hm46h4c2",
        "collectionId": COLLECTION,
        "config": {"ciot": {"imsi": "242016000000123", "imei": "357518080000128"}},
        "metadata": {"ciot": {"allocatedIp": "100.127.255.254"}},
        "tags": {"name": "pump-3"},
    }
    async with Api({f"GET /span/collections/{COLLECTION}/devices": {"devices": [device]}}) as api:
        command = (PROGRAM, "--endpoint", api.url, "--token", TOKEN, "device", "list", "-c", COLLECTION)
        async with Program(*command, environment={"COLUMNS": "80", "NO_COLOR": "1"}, terminal=True) as program:
            heading, row = await program.line(), await program.line()
            ended = await program.finish()
        async with Program(*command, environment={"COLUMNS": "200", "NO_COLOR": "1"}, terminal=True) as wide:
            everything = await wide.line()

    assert words(heading) == ["DEVICE", "ADDRESS", "IMSI", "LAST", "MESSAGE", "TAGS"]
    assert words(row) == ["17kl14hm46h4c2", "100.127.255.254", "242016000000123", "never", "name=pump-3"]
    assert "hint: The terminal is too narrow for IMEI, ENABLED, OVER;" in ended.complaints
    assert words(everything) == ["DEVICE", "ADDRESS", "IMSI", "IMEI", "ENABLED", "LAST", "MESSAGE", "OVER", "TAGS"]


async def test_core_15_no_is_an_answer_and_not_an_interrupt() -> None:
    async with Api() as api:
        result = await run("collection", "delete", COLLECTION, "--endpoint", api.url, stdin="n\n")

    assert result.exit_code == 1
    assert result.stderr.endswith("error: Nothing was changed.\n")
    assert api.calls == []


@pytest.mark.parametrize(("typed", "meant"), [("tial", "tail"), ("devices", "device"), ("sevre", "serve")])
async def test_core_15_a_mistyped_command_gets_a_suggestion(typed: str, meant: str) -> None:
    result = await run(typed)

    assert result.exit_code == 2
    assert f"error: No such command {typed!r}. Did you mean {meant!r}?\n" in result.stderr


async def test_core_15_the_completion_of_the_guide_completes() -> None:
    """As the guide says it, in bash."""
    guide = (Path(__file__).parents[3] / "span_events/guides/operating.md").read_text()
    (line,) = re.findall(r"^eval .*_SPAN_EVENTS_COMPLETE=bash_source.*$", guide, re.MULTILINE)
    script = (
        f"{line}\n"
        "COMP_WORDS=(span-events devi) COMP_CWORD=1\n"
        "_span_events_completion span-events\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    folder = str(Path(PROGRAM).parent)
    bash = shutil.which("bash")
    assert bash is not None
    ended = await run_program(bash, "-c", script, environment={"PATH": f"{folder}:/usr/bin:/bin"})

    assert ended.output.split() == ["device"], ended.complaints
