"""What does and what does not become a line in the log."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest
from aiohttp.http_exceptions import BadStatusLine
from structlog.testing import capture_logs

from span_events import log
from span_events.errors import StorageUnavailable
from span_events.log import is_defect
from tests.bench.servers import running
from tests.bench.waiting import until


@pytest.mark.parametrize(("error", "logged"), [(BadStatusLine("x"), False), (ValueError("x"), True)])
def test_a_request_that_is_no_http_is_no_defect(error: Exception, logged: bool) -> None:
    """Aiohttp writes a traceback for each of them; what failed here is still told."""
    record = logging.makeLogRecord({"exc_info": (type(error), error, None)})

    assert is_defect(record) is logged
    assert is_defect(logging.makeLogRecord({})) is True


async def test_a_registry_that_fails_again_and_again_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked several times a second; its recovery is told too."""
    asked = 0

    async def fail() -> None:
        nonlocal asked
        asked += 1
        raise StorageUnavailable("the disk is full")

    async with running(tmp_path) as site:
        with capture_logs() as lines:
            with monkeypatch.context() as patched:
                patched.setattr(site.server.tokens, "refresh", fail)
                for times in range(1, 5):
                    await site.clock.advance(1)
                    await until(lambda times=times: asked >= times)  # type: ignore[misc]
            await site.clock.advance(1)
            await until(lambda: any(each["event"] == "repeated_action_works_again" for each in lines))
        told = [each["event"] for each in lines if each["event"].startswith("repeated_action")]

    assert told == ["repeated_action_failed", "repeated_action_works_again"]


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
