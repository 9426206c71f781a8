"""A UDP socket of a simulated device: bound to the device's own address, connected to one server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from span_events.errors import SpanEventsError

MAX_DATAGRAM: Final = 65_535

Address = tuple[str, int]
"""Host (an IP address) and port."""


def reachable(bound: Address) -> Address:
    """Return the address to send to for a bound address: a wildcard becomes loopback."""
    host, port = bound
    return ("127.0.0.1" if host in ("", "0.0.0.0", "::") else host), port  # noqa: S104  # the opposite of binding


class AddressUnavailable(SpanEventsError):
    """A simulated device could not bind its address."""

    code = "address_unavailable"
    exit_status = 3
    hint = (
        "Simulated devices need addresses of this machine: on Linux all of 127.0.0.0/8 will do, by hand or as "
        "cellular.pool of the server."
    )


class DeviceSocket:
    """
    A UDP socket of one device, connected to one server.

    Args:
        address: IP address of the device, by which the server identifies it.
        target: Address of the server; the kernel drops datagrams from elsewhere.
        received: Called with each datagram.

    Raises:
        AddressUnavailable: The address is not one of this machine, or there are no sockets left.
    """

    def __init__(self, address: str, target: Address, received: Callable[[bytes], None]) -> None:
        self._received = received
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as exc:
            raise _unavailable(address, exc) from exc
        try:
            self._socket.setblocking(False)
            self._socket.bind((address, 0))
            self._socket.connect(target)
        except OSError as exc:
            self._socket.close()
            raise _unavailable(address, exc) from exc
        self.refused = 0
        """Number of ICMP port unreachable messages from the target's host."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def local(self) -> Address:
        """The address and port that this socket sends from."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def send(self, datagram: bytes) -> bool:
        """Send a datagram; False if the network did not take it, as a radio may."""
        try:
            self._socket.send(datagram)
        except ConnectionRefusedError:  # the error concerns an earlier datagram; this one was not sent
            self.refused += 1
            return False
        except OSError:  # the send buffer is full, or the network is down
            return False
        return True

    def close(self) -> None:
        """Release the socket; idempotent."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _read(self) -> None:
        while self._socket.fileno() >= 0:
            try:
                datagram = self._socket.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self.refused += 1
                continue
            except OSError:
                return
            self._received(datagram)


def _unavailable(address: str, cause: OSError) -> AddressUnavailable:
    error = AddressUnavailable(f"{address}: cannot send from this address: {cause.strerror}")
    if cause.errno is not None and "files" in (cause.strerror or ""):
        error.hint = "Each simulated device has a socket of its own: raise `ulimit -n`, or simulate fewer devices."
    return error
