"""Limits of the DTLS server: state of strangers, memory, numbers."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

from span_events.wire.dtls.engine import EngineSession, Event
from tests.bench.waiting import until
from tests.listeners.dtls.bench import DtlsBench, dtls_bench
from tests.listeners.dtls.changes import remove
from tests.wire.dtls.client import DtlsClient


async def test_hellos_without_a_cookie_leave_no_state(bench: DtlsBench) -> None:
    """Each hello is answered with one small datagram, and no state is kept."""
    (first,) = DtlsClient(bench.holder).start()
    sent: list[bytes] = []
    bench.dtls._send = lambda datagram, _: sent.append(datagram)
    for number in range(5_000):
        bench.dtls.receive(first, (f"10.0.{number // 250}.{number % 250}", 5_000))

    assert bench.dtls.hellos == len(sent) == 5_000
    assert sum(map(len, sent)) < 5_000 * len(first) / 2
    assert (bench.dtls.half_open, bench.dtls.begun, bench.dtls.sessions) == (0, 0, 0)


@pytest.mark.parametrize("ends", ["left", "removed", "refused", "replaced"])
async def test_the_memory_of_a_client_is_freed_at_once(bench: DtlsBench, ends: str) -> None:
    """No garbage collection is needed, which does not know of OpenSSL's 80 kB per session."""
    created: list[weakref.ref[object]] = []
    accept = bench.dtls._engine.accept

    def accepting(*arguments: Any, **keywords: Any) -> tuple[EngineSession, Sequence[Event]]:
        session, events = accept(*arguments, **keywords)
        created.append(weakref.ref(session))
        return session, events

    bench.dtls._engine.accept = accepting  # type: ignore[method-assign]
    gc.disable()
    try:
        client = await bench.client(DtlsClient() if ends == "refused" else None).connect()
        if ends == "left":
            client.leave()
        elif ends == "removed":
            await remove(bench)
        elif ends == "replaced":
            client.dtls = DtlsClient(bench.holder)
            await client.connect()
        await until(lambda: bool({"clientDisconnected", "clientRejected"} & set(bench.fleet.names)))
        await until(lambda: created[0]() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("limit", ["half_open", "half_open_per_prefix"])
async def test_handshakes_are_bounded_and_a_valid_client_can_connect(tmp_path: Path, limit: str) -> None:
    """The handshake of the client that was silent longest is evicted, with an event."""
    async with dtls_bench(tmp_path, dtls={limit: 3}) as bench:
        stopped = [bench.client() for _ in range(5)]
        for client in stopped:
            await client.greet()
        await until(lambda: bench.dtls.begun == 5)

        assert bench.dtls.half_open == 3
        good = await bench.client().connect()
        assert good.dtls.established
        published = await bench.published(4)
        assert [data["reason"] for name, data in published if name == "clientRejected"] == ["serverBusy"] * 3
        assert [data["detail"] for name, data in published if name == "clientRejected"] == [f"dtls.{limit} is 3"] * 3


async def test_a_device_that_connects_from_ever_new_ports_ends_its_own_sessions(tmp_path: Path) -> None:
    """As after each reset, without a goodbye: the sessions of a device must not take the room of others."""
    limit = "dtls.sessions_per_device is 2"
    async with dtls_bench(tmp_path, dtls={"sessions": 3, "sessions_per_device": 2}) as bench:
        clients = [await bench.client().connect() for _ in range(4)]
        published = await bench.published(6)
        ends = [data for name, data in published if name == "clientDisconnected"]
        clients[3].say(b"still here")
        ((name, _),) = await bench.published(1)

        assert [(data["reason"], data["detail"]) for data in ends] == [("replaced", limit)] * 2
        assert name == "upstreamMessage"
        assert bench.dtls.sessions == 2


async def test_of_a_devices_sessions_the_one_that_was_silent_the_longest_ends(tmp_path: Path) -> None:
    """A session that is in use must not end before those that were left without a goodbye."""
    async with dtls_bench(tmp_path, dtls={"sessions_per_device": 2}) as bench:
        first = await bench.client().connect()
        await bench.client().connect()
        await bench.fleet.clock.advance(1)
        first.say(b"in use")
        await bench.published(3)
        await bench.client().connect()
        await bench.published(2)
        first.say(b"still here")
        ((name, _),) = await bench.published(1)

        assert name == "upstreamMessage"


async def test_sessions_are_bounded(tmp_path: Path) -> None:
    """An additional client is rejected; open sessions continue."""
    async with dtls_bench(tmp_path, dtls={"sessions": 1}) as bench:
        await bench.client().connect()
        late = bench.client()
        await late.greet()
        published = await bench.published(2)

        assert (published[1][1]["reason"], published[1][1]["detail"]) == ("serverBusy", "dtls.sessions is 1")
        assert bench.dtls.sessions == 1


async def test_a_host_with_too_many_failures_is_silenced_for_a_minute(tmp_path: Path) -> None:
    """An event says so, since others behind its NAT suffer, too; the host is answered again after a minute."""
    async with dtls_bench(tmp_path, dtls={"failures_per_minute": 2}) as bench:
        await bench.fleet.device("127.0.0.1")
        for _ in range(2):
            await bench.client(DtlsClient()).connect()
        await bench.client().greet()
        await until(lambda: bench.dtls.silenced == 1)
        name, data = (await bench.published(3))[2]
        assert (name, data["reason"], data["attributedBy"]) == ("clientRejected", "serverBusy", "address")
        assert data["detail"] == "dtls.failures_per_minute is 2: no answer to this address now"
        bench.fleet.clock.shift(60)

        assert (await bench.client().connect()).dtls.established


def test_a_deadline_that_has_passed_is_armed_twice_on_uvloop_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handle of a call without delay tells no moment; a burst of handshakes raised for each datagram."""

    async def arm() -> None:
        async with dtls_bench(tmp_path) as bench:
            past = asyncio.get_running_loop().time() - 1
            with monkeypatch.context() as patched:
                patched.setattr(type(bench.dtls._handshakes), "deadline", lambda _: past)
                bench.dtls._arm()
                bench.dtls._arm()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(arm())
