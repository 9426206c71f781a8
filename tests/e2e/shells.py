"""A command `span-events` for shells: each call is forked from a process that has loaded the program."""

from __future__ import annotations

import asyncio
import marshal
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.bench.forked import ForkedProcess

_LARGEST: Final = 1 << 17
"""Octets of a call: arguments, folder and environment."""
_COMMAND: Final = """\
#!{python} -IS
import marshal, os, signal, socket, sys

link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.connect({path!r})
forwarded = {{signal.SIGINT, signal.SIGTERM, signal.SIGHUP}}
signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
for each in forwarded:
    signal.signal(each, lambda number, frame: link.send(b"%d" % number))
call = marshal.dumps((sys.argv[1:], os.getcwd(), dict(os.environ)))
socket.send_fds(link, [call], [0, 1, 2])
signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
status = int(link.recv(16))
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""
"""The command: passes its arguments, folder, environment, standard streams and signals on, and ends as the program."""


@asynccontextmanager
async def command_for_shells(folder: Path) -> AsyncIterator[Path]:
    """Make the command in a folder; give the folder for a shell's PATH. Every call must have ended before the block."""
    path = folder / "calls"
    command = folder / "span-events"
    command.write_text(_COMMAND.format(python=sys.executable, path=str(path)))
    command.chmod(0o700)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(64)
        listener.setblocking(False)

        async def take_calls() -> None:
            while True:
                link, _ = await loop.sock_accept(listener)
                group.create_task(_serve(link))

        async with asyncio.TaskGroup() as group:
            taking = group.create_task(take_calls())
            yield folder
            taking.cancel()


async def _serve(link: socket.socket) -> None:
    """Run the program for one call, and send its exit status; a negative one is the signal that ended it."""
    with link:
        link.setblocking(True)  # the command sends its call at once
        call, streams, _, _ = socket.recv_fds(link, _LARGEST, 3)
        arguments, folder, environment = marshal.loads(call)
        process = ForkedProcess(arguments, environment, streams, folder=folder)
        for each in streams:
            socket.close(each)
        link.setblocking(False)
        forwarding = asyncio.create_task(_forward(link, process))
        status = await process.wait()
        forwarding.cancel()
        link.send(b"%d" % status)


async def _forward(link: socket.socket, process: ForkedProcess) -> None:
    """Send the signals that the command got to the process; end a process whose command was killed."""
    loop = asyncio.get_running_loop()
    while number := await loop.sock_recv(link, 16):
        process.send_signal(signal.Signals(int(number)))
    process.send_signal(signal.SIGKILL)
