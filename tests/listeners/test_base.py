"""The base class of listeners on several UDP sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from span_events.errors import ListenerUnavailable
from span_events.listeners.base import UdpListener
from span_events.listeners.udp import UdpSocket
from tests.bench.waiting import until


class Pair(UdpListener):
    """A listener on two sockets."""

    name = "pair"

    def __init__(self, first: int = 0, second: int = 0) -> None:
        self.taken: list[bytes] = []
        self.sockets = [
            UdpSocket(self.name, "127.0.0.1", port, receive_buffer=65536, receive=self._receive)
            for port in (first, second)
        ]
        super().__init__(*self.sockets)

    def _receive(self, datagram: bytes, _remote: tuple[str, int]) -> None:
        if datagram == b"bad":
            raise ZeroDivisionError
        self.taken.append(datagram)


async def test_datagrams_of_all_sockets_are_counted() -> None:
    """The address is that of the first socket; a second stop is harmless."""
    pair = Pair()
    await pair.start()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        for each in pair.sockets:
            client.sendto(b"bad", each.address)
            client.sendto(b"good", each.address)
        await until(lambda: pair.received == 4)

    assert pair.address == f"127.0.0.1:{pair.sockets[0].address[1]}"
    assert (pair.taken, pair.defects) == ([b"good", b"good"], 2)
    await pair.stop()
    await pair.stop()


@pytest.mark.parametrize("which", [0, 1])
async def test_a_lost_socket_ends_the_listener(which: int) -> None:
    """The loss of either socket raises, instead of a listener that silently receives nothing."""
    pair = Pair()
    await pair.start()
    running = asyncio.ensure_future(pair.run())
    lost = pair.sockets[which]
    assert lost._socket
    asyncio.get_running_loop().remove_reader(lost._socket.fileno())
    lost._socket.close()
    lost._drain()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await running
    lost._socket = None
    await pair.stop()


async def test_a_listener_binds_all_its_sockets_or_none() -> None:
    """Sockets that are already bound are released."""
    taken = Pair()
    await taken.start()
    pair = Pair(second=taken.sockets[0].address[1])
    with pytest.raises(ListenerUnavailable, match="cannot bind"):
        await pair.start()

    assert pair.sockets[0]._socket is None
    await taken.stop()


async def test_a_cancelled_listener_still_receives() -> None:
    """A listener receives until `stop`."""
    pair = Pair()
    await pair.start()
    running = asyncio.ensure_future(pair.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.sendto(b"good", pair.sockets[0].address)
        await until(lambda: pair.taken == [b"good"])

    assert running.cancelled()
    await pair.stop()


async def test_datagrams_that_the_kernel_drops_are_counted_and_logged() -> None:
    """A flood fills the receive buffer faster than it is read."""
    pair = Pair()
    await pair.start()
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client, capture_logs() as lines:
        for _ in range(1_000):  # in one turn of the event loop, so nothing is read meanwhile
            client.sendto(bytes(1_000), pair.sockets[0].address)
        pair.look()
        pair.look()
        await until(lambda: pair.received + pair.overflowed == 1_000)
    await pair.stop()

    assert pair.overflowed > 0
    ((event, count),) = ((each["event"], each["count"]) for each in lines)
    assert (event, count) == ("datagrams_overflowed", pair.overflowed)
