"""Actions that the server repeats: one log line when they begin to fail, one when they work again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from span_events.errors import StorageUnavailable
from span_events.registry import location
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


@pytest.mark.parametrize("url", ["", "files"])
async def test_a_place_of_files_is_probed_only_if_it_is_not_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Each probe writes a file, and nobody would read the result of a second one for the data directory."""
    (tmp_path / "files").mkdir()
    (tmp_path / "data").mkdir()
    probed: set[Path] = set()
    settings: dict[str, Any] = {"files": {"url": str(tmp_path / url)}} if url else {}
    async with running(tmp_path / "data", **settings) as site:
        monkeypatch.setattr(location, "probe", probed.add)
        while tmp_path / "data" not in probed:  # every 10 s; the others are due every 2 s
            await site.clock.advance(1)
            await asyncio.sleep(0)

    assert (probed > {tmp_path / "data"}) == bool(url)
