"""Actions that the server repeats: one log line when they begin to fail, one when they work again."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.errors import StorageUnavailable
from tests.bench.servers import running
from tests.bench.waiting import until


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
