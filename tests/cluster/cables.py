"""The network between a node and a server that it connects to: it can be cut, without a word to either, and mended."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_LARGEST: Final = 65_536
_LOOK: Final = 0.01
"""Seconds between looks at an end while the cable is cut."""


class Cable:
    """
    Carries TCP connections to a server; enter it to begin.

    A connection whose client gives up while the cable is cut ends on both sides, and what it carried is lost.

    Args:
        server: Its host and port, or the path of its socket.
    """

    def __init__(self, server: tuple[str, int] | str) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._there, self._back = threading.Event(), threading.Event()
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self.mend()

    @property
    def address(self) -> str:
        """Address at which the node believes the server to be."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def cut(self, *, only_replies: bool = False) -> None:
        """Let nothing through; or no replies, while the server gets and does everything."""
        self._back.clear()
        if not only_replies:
            self._there.clear()

    def mend(self) -> None:
        """Let everything through, also what the kernels have kept meanwhile."""
        self._there.set()
        self._back.set()

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.mend()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the end
            while True:
                client, _ = self._listener.accept()
                family = socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET
                server = socket.socket(family)
                self._sockets += [client, server]
                with suppress(OSError):  # it does not run: both sides end at once
                    server.connect(self._server)
                self._run(self._carry, client, server, self._there)
                self._run(self._carry, server, client, self._back)

    def _carry(self, source: socket.socket, target: socket.socket, is_whole: threading.Event) -> None:
        with suppress(OSError):
            while octets := source.recv(_LARGEST):
                while not is_whole.wait(_LOOK):
                    if _has_ended(source):
                        break
                else:
                    target.sendall(octets)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="cable", daemon=True)
        self._threads.append(thread)
        thread.start()


def _has_ended(side: socket.socket) -> bool:
    poll = select.poll()
    poll.register(side, select.POLLRDHUP)
    return bool(poll.poll(0))
