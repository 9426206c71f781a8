"""The queue of messages to one gateway, without a connection."""

from __future__ import annotations

from span_events.listeners.gateways.outgoing import OVERHEAD, Outgoing
from span_events.wire.grpc.server import GrpcServer
from tests.wire.grpc.client import GrpcClient

MESSAGE = bytes(10_000)


def connected() -> tuple[GrpcServer, int]:
    """Create a server with one open call."""
    server, client = GrpcServer(max_message=1_000, max_streams=1), GrpcClient()
    server.feed(client.take() + client.open())
    server.answer(client.stream)
    return server, client.stream


def fill(outgoing: Outgoing) -> int:
    """Add messages until one is refused; return the number of accepted messages."""
    return sum(1 for _ in iter(lambda: outgoing.put(MESSAGE, None, None, 0.0), False))


def test_octets_not_taken_by_the_kernel_count() -> None:
    """A queue emptied into another buffer would cost twice its bound."""
    bound = 10 * (len(MESSAGE) + OVERHEAD)
    outgoing, (server, stream) = Outgoing(messages=1_000, octets=bound), connected()
    room = [fill(outgoing)]
    outgoing.give(server, stream)
    room.append(fill(outgoing))
    waiting = outgoing.octets
    confirmed = outgoing.confirm()
    room.append(fill(outgoing))

    assert confirmed == 2
    assert room == [10, 0, confirmed]
    assert waiting == bound


def test_a_message_that_is_larger_than_the_queue_passes_alone() -> None:
    """Otherwise the message could never be sent."""
    outgoing, (server, stream) = Outgoing(messages=1_000, octets=5_000), connected()

    assert fill(outgoing) == 1
    outgoing.give(server, stream)
    assert fill(outgoing) == 0
    outgoing.confirm()
    assert fill(outgoing) == 1


def test_clearing_the_queue_leaves_nothing() -> None:
    """The stream is over."""
    outgoing, (server, stream) = Outgoing(messages=1_000, octets=100_000), connected()
    fill(outgoing)
    outgoing.give(server, stream)
    outgoing.clear()

    assert (outgoing.octets, outgoing.oldest, outgoing.confirm()) == (0, None, 0)


def test_only_messages_not_given_to_http2_are_taken_back() -> None:
    """In any order; the octets of a removed message count no longer."""
    outgoing, (server, stream) = Outgoing(messages=1_000, octets=100_000), connected()
    for key in range(5):
        outgoing.put(MESSAGE, key, None, 0.0)
    outgoing.give(server, stream)
    taken = [outgoing.withdraw(key) for key in (0, 3, 3, 9)]

    assert taken == [False, True, False, False]
    assert (len(outgoing), outgoing.octets) == (4, 4 * (len(MESSAGE) + OVERHEAD))
