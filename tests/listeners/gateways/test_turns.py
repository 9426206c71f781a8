"""Turns: what one gateway sends at once is processed in parts, and other sockets are served between them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from span_events.events.reasons import GatewayReason
from span_events.proto.gateway_pb2 import ControlStreamRequest
from span_events.turns import Turns
from tests.bench.waiting import until
from tests.listeners.gateways.bench import KEEPALIVE, GatewayBench, Opened, gateway_bench, upstream

EMPTY_DATA = bytes.fromhex("000000000000000001")
SMALL_LIMIT = {"frames_per_second": 10}


@dataclass
class Worker:
    """Notes its turns."""

    name: str
    left: int
    seen: list[str]

    def take_turn(self) -> bool:
        """Work once."""
        self.seen.append(self.name)
        self.left -= 1
        return self.left > 0


async def test_connections_take_turns_and_the_loop_runs_between_them() -> None:
    """Each turn is a wake-up of its own."""
    turns, seen = Turns(), list[str]()
    turns.add(Worker("a", 3, seen))
    turns.add(Worker("b", 1, seen))
    rounds = []
    for _ in range(6):
        await asyncio.sleep(0)
        rounds.append(len(seen))

    assert seen == ["a", "b", "a", "a"]
    assert rounds[:4] == [1, 2, 3, 4]


async def test_a_failure_in_a_turn_leaves_those_of_others() -> None:
    class Failing:
        """Fails in its turn."""

        def take_turn(self) -> bool:
            """Fail."""
            raise ValueError("a defect")

    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
    turns, seen = Turns(), list[str]()
    turns.add(Failing())
    turns.add(Worker("a", 1, seen))
    await until(lambda: bool(failed))
    turns.add(Worker("b", 1, seen))
    await until(lambda: len(seen) == 2)

    assert seen == ["a", "b"]
    assert [str(each) for each in failed] == ["a defect"]


async def test_many_messages_at_once_are_processed_in_parts_and_in_order(
    gateways: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop gets its turn between two parts; the half-close after the messages comes last."""
    client = await gateways.client().serve()
    session = await gateways.session()
    receive, loop, wake_ups = gateways.sessions.received, asyncio.get_running_loop(), [0]

    def count() -> None:
        wake_ups.append(0)
        loop.call_soon(count)

    def note(session: Opened, message: ControlStreamRequest) -> None:
        wake_ups[-1] += 1
        receive(session, message)

    monkeypatch.setattr(gateways.sessions, "received", note)
    count()
    octets = b"".join(client.grpc.send(upstream(b"%d" % number)) for number in range(500))
    await client.say(octets + client.grpc.half_close())
    await gateways.end(session)

    assert max(wake_ups) <= 64
    assert [each.upstream_message.payload for each in session.received] == [b"%d" % each for each in range(500)]
    assert session.ended == [(GatewayReason.CLOSED, "")]


async def test_a_crash_after_many_messages_loses_none(gateways: GatewayBench) -> None:
    """The end of TCP is read after the last message."""
    client = await gateways.client().serve()
    session = await gateways.session()
    await client.say(b"".join(client.grpc.send(upstream(b"%d" % number)) for number in range(500)))
    client.die()
    await gateways.end(session)

    assert len(session.received) == 500
    assert session.ended == [(GatewayReason.PROCESS_DIED, "the TCP connection was closed")]


async def test_frames_without_content_over_the_limit_end_the_stream() -> None:
    """GOAWAY ENHANCE_YOUR_CALM; the error names the limit."""
    async with gateway_bench(**SMALL_LIMIT) as gateways:
        client = await gateways.client().serve()
        session = await gateways.session()
        await client.say(EMPTY_DATA * 200)
        reason, detail = await gateways.end(session)
        await until(lambda: client.grpc.goaway is not None)

        assert client.grpc.goaway == 11
        assert reason is GatewayReason.TOO_MANY_FRAMES
        assert detail.endswith("frames or messages without content; gateways.frames_per_second is 10, over 10 s")
        assert gateways.listener.counters.floods == 1


async def test_useful_messages_are_not_limited() -> None:
    """The budget is for frames that bring nothing; rates of messages belong to devices."""
    async with gateway_bench(**SMALL_LIMIT) as gateways:
        client = await gateways.client().serve()
        session = await gateways.session()
        await client.say(b"".join(client.grpc.send(upstream(b"%d" % number)) for number in range(1_000)))
        await until(lambda: len(session.received) == 1_000)

        assert session.ended == []


async def test_the_limit_is_a_rate() -> None:
    """Frames spread over time are allowed for ever."""
    async with gateway_bench(**SMALL_LIMIT) as gateways:
        client = await gateways.client().serve()
        session = await gateways.session()
        for number in range(4):
            await client.say(EMPTY_DATA * 40)
            await client.send(KEEPALIVE)
            await until(lambda expected=number + 1: len(session.received) == expected)  # type: ignore[misc]
            await gateways.clock.advance(4.5)

        assert session.ended == []
