"""Sick outputs harm no other output."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from span_events.ids import render
from tests.bench.waiting import until
from tests.outputs.conftest import outputs_bench, serving

MESSAGES = 200


async def test_17_outputs_get_every_message_beside_3_sick_ones(tmp_path: Path) -> None:
    """One target never answers, one answers 500, and the name of one does not resolve; each says so."""
    async with AsyncExitStack() as stack:
        bench = await stack.enter_async_context(outputs_bench(tmp_path, timeout=1.0, queue=50, batch=10))
        targets = [await stack.enter_async_context(serving()) for _ in range(17)]
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # accepts, and never reads
        failing = await stack.enter_async_context(serving())

        async def fail(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=500, text="broken")

        failing.answer = fail
        sick = {
            "timeout": await bench.add(url=f"http://127.0.0.1:{silent.getsockname()[1]}/"),
            "targetFailed": await bench.add(url=failing.url),
            "notResolved": await bench.add(url="http://no-such-host.invalid/"),
        }
        for target in targets:
            await bench.add(url=target.url)
        for number in range(MESSAGES):
            bench.send(b"%d" % number)
            if number % 10 == 9:
                await until(lambda: all(len(set(each.payloads)) == number + 1 for each in targets))  # noqa: B023
        await until(lambda: sick.keys() <= {each["reason"] for each in bench.published("outputFailed")})

        expected = [b64encode(b"%d" % number).decode() for number in range(MESSAGES)]
        once = [list(dict.fromkeys(each.payloads)) for each in targets]  # an answer after the timeout: sent again
        assert all(each == expected for each in once)
        for reason, output in sick.items():
            health = bench.fleet.outputs_health.of(output)
            assert any(entry.message.startswith(reason) for entry in health.log)
            assert health.waiting <= 50
            assert health.dropped >= MESSAGES - 50 - 10 * health.errors
        ids = {render(output.id) for output in sick.values()}
        reasons = Counter(each["reason"] for each in bench.published("outputFailed") if each["outputId"] in ids)
        del reasons["queueFull"]  # of the silent target, before its first timeout
        assert reasons == dict.fromkeys(sick, 1)
