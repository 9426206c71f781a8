"""A child process: started again when it ends or falls silent, and stopped with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from span_events.app.workers.child import Child, ChildFailed
from span_events.app.workers.parent import Parent
from tests.bench.waiting import PATIENCE, until

_REPORTING: Final = """
import os, signal, socket, sys, time
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
tell = lambda text: manager.sendto(text, os.environ["NOTIFY_SOCKET"])
def reload(*_):
    tell(b"RELOADING=1")
    tell(b"READY=1")
signal.signal(signal.SIGHUP, reload)
"""
_SERVING: Final = _REPORTING + "tell(b'READY=1')\nwhile True: signal.pause()"
_DEAF: Final = (
    _REPORTING + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntell(b'READY=1')\nwhile True: signal.pause()"
)
_FAILING: Final = "raise SystemExit(4)"


def child(folder: Path, program: str, name: str = "worker-1", **options: float) -> Child:
    """Make a child that runs a program of Python."""
    return Child(name, (sys.executable, "-S", "-c", program), os.environ, folder=folder, **options)


@asynccontextmanager
async def running(*children: Child) -> AsyncIterator[Parent]:
    """Start children, and stop them at the end."""
    parent = Parent(children)
    try:
        await parent.start()
        yield parent
    finally:
        await parent.stop()


async def test_a_child_that_is_killed_is_started_again(tmp_path: Path) -> None:
    it = child(tmp_path, _SERVING)
    async with running(it) as parent:
        first = it.pid
        assert first
        os.kill(first, signal.SIGKILL)
        await until(lambda: it.starts >= 2 and it.ready.is_set())

        assert it.pid not in (None, first)
        assert parent.status == "1 of 1 processes are ready, 1 restarts"
        assert parent.is_well


async def test_a_child_that_stops_reporting_is_killed_and_started_again(tmp_path: Path) -> None:
    """It reported that it was ready, and then nothing: its event loop is blocked."""
    it = child(tmp_path, _SERVING, silence=0.3)
    async with running(it):
        await until(lambda: it.starts >= 2 and it.ready.is_set())


async def test_a_child_that_hangs_at_its_restart_is_killed_and_started_again(tmp_path: Path) -> None:
    """It waits for ever before its first report; its successor serves."""
    starts = tmp_path / "starts"
    counts = f"import signal\nopen({str(starts)!r}, 'a').write('x')\n"
    hangs = f"if open({str(starts)!r}).read() == 'xx': signal.pause()\n"
    it = child(tmp_path, counts + hangs + _SERVING, start_limit=1.0)
    async with running(it):
        assert it.pid
        os.kill(it.pid, signal.SIGKILL)
        await until(lambda: it.starts >= 3 and it.ready.is_set())


async def test_a_child_that_hangs_at_its_first_start_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="worker-1: ended with status -9 before it was ready"):
        async with (
            asyncio.timeout(PATIENCE),
            running(child(tmp_path, "import signal\nsignal.pause()", start_limit=0.1)),
        ):
            pass


async def test_a_child_that_ends_before_it_is_ready_ends_the_start_with_its_status(tmp_path: Path) -> None:
    """As a server of one process does: 2 for the configuration, 3 for a port, 4 for the storage."""
    children = child(tmp_path, _SERVING, "devices"), child(tmp_path, _FAILING), child(tmp_path, _SERVING, "worker-2")
    with pytest.raises(ChildFailed, match="worker-1: ended with status 4 before it was ready") as failure:
        async with running(*children):
            pass

    assert failure.value.exit_status == 4
    assert [each.pid for each in children] == [None] * 3


async def test_a_stop_ends_all_children_the_first_one_before_the_others(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    note = f"def end(*_):\n    open({str(ended)!r}, 'a').write(sys.argv[1] + ' ')\n    sys.exit()\n"
    program = _REPORTING + note + "signal.signal(signal.SIGTERM, end)\ntell(b'READY=1')\nwhile True: signal.pause()"
    names = ("devices", "worker-1")
    children = [Child(each, (sys.executable, "-S", "-c", program, each), os.environ, folder=tmp_path) for each in names]
    async with running(*children):
        pass

    assert ended.read_text() == "devices worker-1 "


async def test_a_child_that_does_not_stop_is_killed_at_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("span_events.app.workers.parent._STOP", 0.05)
    it = child(tmp_path, _DEAF)
    async with asyncio.timeout(PATIENCE), running(it):
        pass

    assert it.pid is None


async def test_a_reload_reaches_every_child_and_ends_when_all_have_reported(tmp_path: Path) -> None:
    children = child(tmp_path, _SERVING, "devices"), child(tmp_path, _SERVING)
    async with running(*children) as parent:
        await parent.reload()

        assert [each.reloads for each in children] == [1, 1]


async def test_a_child_that_ends_during_a_reload_is_not_waited_for(tmp_path: Path) -> None:
    it = child(tmp_path, _REPORTING + "signal.signal(signal.SIGHUP, signal.SIG_DFL)\ntell(b'READY=1')\nsignal.pause()")
    async with running(it) as parent, asyncio.timeout(PATIENCE):
        await parent.reload()
        await until(lambda: it.starts == 2)

        assert it.reloads == 0


async def test_nonsense_instead_of_a_report_is_ignored(tmp_path: Path) -> None:
    program = _REPORTING + "tell(bytes(range(256)) * 16)\ntell(b'')\ntell(b'READY=1')\nsignal.pause()"
    async with running(child(tmp_path, program)) as parent:
        assert parent.status == "1 of 1 processes are ready, 0 restarts"


async def test_a_parent_is_well_while_one_child_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot start while the database is away must not end the others; when all are gone, the service is."""
    once = tmp_path / "once"
    fails_later = f"import os, sys\nif os.path.exists({str(once)!r}): sys.exit(4)\nopen({str(once)!r}, 'w')\n"
    it, other = child(tmp_path, fails_later + _SERVING, "devices"), child(tmp_path, _SERVING)
    async with running(it, other) as parent:
        monkeypatch.setattr("span_events.app.workers.child._STEADY", 0.0)
        assert it.pid
        os.kill(it.pid, signal.SIGKILL)
        await until(lambda: it.starts > 1)

        assert not it.is_well
        assert parent.is_well
        other.ready.clear()
        assert not parent.is_well
