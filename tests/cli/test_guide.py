"""``guide``: the guides of the package without a server."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from span_events.cli.guide import read_guides, summary_of
from tests.cli.bench import run


async def test_without_a_name_each_guide_has_a_line_with_its_first_sentence() -> None:
    result = await run("guide")

    heading, *lines = result.stdout.splitlines()
    assert heading.split() == ["GUIDE", "ABOUT"]
    assert [line.split()[0] for line in lines] == list(read_guides())
    assert "A blob is a file that a device uploads" in result.stdout


async def test_in_a_pipe_a_guide_is_plain_markdown() -> None:
    result = await run("guide", "dtls")

    assert result.stdout == read_guides()["dtls"]


def test_on_a_terminal_a_guide_is_formatted_and_opens_in_the_pager() -> None:
    """The pager here is cat; rich draws the heading and removes the backticks."""
    leader, follower = pty.openpty()
    environment = os.environ | {"PAGER": "cat", "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-m", "span_events", "guide", "udp"]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        while octets := _read(leader):
            shown += octets
    os.close(leader)

    assert process.returncode == 0
    assert "Port 1234 takes plain datagrams" in shown.decode()
    assert "```" not in shown.decode()


async def test_an_unknown_name_is_an_error_that_lists_close_names() -> None:
    for wrong, close in (("dtl", "dtls"), ("core", "mobile-core"), ("gatways", "gateways"), ("GATEWAY", "gateways")):
        result = await run("guide", wrong)

        assert result.exit_code == 1
        assert f"error: there is no guide {wrong!r}" in result.stderr
        assert "hint: did you mean" in result.stderr
        assert close in result.stderr


async def test_a_name_that_resembles_none_is_an_error_that_names_the_list() -> None:
    result = await run("guide", "zzzzzz")

    assert "hint: `span-events guide` lists all guides." in result.stderr


def test_a_summary_is_the_first_sentence_without_markdown() -> None:
    assert summary_of("# T\n\nA `b` is\n**c**. More.\n") == "A b is c."


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the other end is closed
        return b""
