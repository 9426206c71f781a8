"""What does and what does not become a line in the log."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys

import pytest
from aiohttp.http_exceptions import BadStatusLine

from span_events import log
from span_events.log import is_defect


@pytest.mark.parametrize(("error", "logged"), [(BadStatusLine("x"), False), (ValueError("x"), True)])
def test_a_request_that_is_no_http_is_no_defect(error: Exception, logged: bool) -> None:
    """Aiohttp writes a traceback for each of them; what failed here is still told."""
    record = logging.makeLogRecord({"exc_info": (type(error), error, None)})

    assert is_defect(record) is logged
    assert is_defect(logging.makeLogRecord({})) is True


def test_a_line_that_cannot_be_written_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or a closed terminal must not stop the part that logs."""
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        log.configure("info", "json")
        log.get_logger("test").info("something_happened")
        with contextlib.suppress(OSError):
            full.close()


def test_the_end_of_the_interpreter_flushes_without_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 clears the names of modules first, and would end the log of each server with a traceback."""
    stream = log._Unfailing(io.StringIO())
    for name in list(vars(log)):
        monkeypatch.setitem(vars(log), name, None)

    stream.flush()


def test_a_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that share standard error would otherwise write into each other's lines."""
    writes: list[str] = []
    stream = io.StringIO()
    monkeypatch.setattr(stream, "write", writes.append)
    monkeypatch.setattr(sys, "stderr", stream)
    log.configure("info", "json", process="worker-2")
    log.get_logger("test").info("something_happened")

    (line,) = writes
    assert line.endswith("}\n")
    assert json.loads(line)["process"] == "worker-2"


@pytest.mark.parametrize(
    ("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)], ids=str
)
def test_colour_can_be_declined(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool) -> None:
    """NO_COLOR, and terminals that have none."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    log.configure("info", "console")
    log.get_logger("test").info("something_happened")

    assert ("\x1b[" in terminal.getvalue()) is coloured
