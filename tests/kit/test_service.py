"""The programs of `scripts/cluster`: one that dies leaves nothing behind that keeps it from starting again."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
from pathlib import Path

import pytest

from scripts.nodes import service
from scripts.nodes.cluster import COUNT, free_ports
from scripts.nodes.service import Service
from tests.bench.waiting import until

MASTER = """
exec 9> lock
flock --nonblock 9 || exit 1 # as a port that another process has
sleep 1000 &
touch ready
wait
"""


def is_locked(path: Path) -> bool:
    """Whether a process has the lock that the program takes."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


async def test_a_killed_program_starts_again_though_its_child_outlived_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nginx's workers outlive their master; the end of the cluster ends such a child, too."""
    monkeypatch.setattr(service, "_AGAIN", 0.05)
    ready, told = tmp_path / "ready", list[str]()
    master = Service("master", ["bash", "-c", f"cd {tmp_path}\n{MASTER}"], tmp_path, ready.exists)
    await master.start()
    watching = asyncio.create_task(master.watch(told.append))
    ready.unlink()
    kill(master)
    await until(lambda: any("is back" in each for each in told))
    watching.cancel()
    kill(master)
    await master.stop()

    await until(lambda: not is_locked(tmp_path / "lock"))


def kill(program: Service) -> None:
    """Kill the process itself, not its children."""
    os.kill(int((program.folder / f"{program.name}.pid").read_text()), signal.SIGKILL)


def test_a_cluster_picks_ports_that_are_free_and_no_port_of_clients() -> None:
    first = free_ports()
    for port in range(first, first + COUNT):
        with socket.socket() as found:
            found.bind(("127.0.0.1", port))

    assert first + COUNT <= 32_768
