"""Answers that a webhook's target should not give: cut short, endless, no HTTP, or with a wish for later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from span_events.clock import SystemClock
from span_events.outputs import ifttt, webhook
from span_events.registry.outputs import OutputType
from tests.bench.waiting import until
from tests.outputs.conftest import OutputsBench, outputs_bench

NO_BODY: Final = b"Content-Length: 0\r\n\r\n"


@asynccontextmanager
async def answering(octets: bytes) -> AsyncIterator[str]:
    """Serve the same octets for each request, and keep the connection open; yield the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(octets)
            await reader.read()  # until the client closes
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 100\r\n\r\nbegin",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"Content-Length: 9\r\n\r\n",
    ],
)
async def test_a_status_of_success_counts_though_the_answer_never_ends(
    bench: OutputsBench, monkeypatch: pytest.MonkeyPatch, rest: bytes
) -> None:
    """The target has the message: sending it again would double it."""
    monkeypatch.setattr(webhook, "_ANSWER_TIME", 0.01)
    async with answering(b"HTTP/1.1 200 OK\r\n" + rest) as url:
        health = bench.fleet.outputs_health.of(await bench.add(url=url))
        bench.send()
        await until(lambda: bool(health.forwarded or health.errors))

        assert (health.forwarded, health.errors) == (1, 0)


async def test_an_answer_that_is_no_http_is_told_without_the_secret_in_the_url(bench: OutputsBench) -> None:
    async with answering(b"SSH-2.0-OpenSSH_9.2\r\n") as url:
        await bench.add(url=f"{url}?key=secret")
        bench.send()
        failed = await bench.event("outputFailed")

    assert failed["reason"] == "targetFailed"
    assert failed["detail"].startswith("the answer is not valid HTTP: Bad status line")
    assert "SSH-2.0" in failed["detail"]
    assert "secret" not in str(failed)


async def test_an_answer_that_is_no_http_does_not_show_the_key_of_ifttt(
    bench: OutputsBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(b"SSH-2.0-OpenSSH_9.2\r\n") as url:
        monkeypatch.setattr(ifttt, "URL", url)
        await bench.add(OutputType.IFTTT, key="secret", event_name="door")
        bench.send()
        failed = await bench.event("outputFailed")

    assert "secret" not in str(failed)


@pytest.mark.parametrize(
    ("head", "reason", "detail"),
    [
        (b"301 Moved\r\nLocation: https://127.0.0.1/hook?key=secret#x", "redirected", "https://127.0.0.1/hook"),
        (b"302 Found\r\nLocation: /else?key=secret", "redirected", "/else"),
        (b"307 Else\r\nLocation: http://[secret", "redirected", None),
        (b"304 Not Modified", "refused", None),
    ],
)
async def test_a_redirect_is_told_without_the_secret_in_its_url(
    bench: OutputsBench, head: bytes, reason: str, detail: str | None
) -> None:
    """A redirect to https usually repeats the query."""
    async with answering(b"HTTP/1.1 " + head + b"\r\n" + NO_BODY) as url:
        await bench.add(url=f"{url}?key=secret")
        bench.send()
        failed = await bench.event("outputFailed")

    assert (failed["reason"], failed.get("detail"), failed["status"]) == (reason, detail, head[:3].decode())


async def test_a_target_that_closes_without_an_answer_is_told(bench: OutputsBench) -> None:
    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    async with server:
        await bench.add(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        bench.send()
        failed = await bench.event("outputFailed")

    assert (failed["reason"], failed["detail"]) == (
        "unreachable",
        "the target closed the connection without an answer",
    )


@pytest.mark.parametrize(
    ("wish", "pause"),
    [
        (b"Retry-After: 7", 7.0),
        (b"Retry-After: 99999999", 20.0),
        (b"Date: Tue, 01 Jan 2030 00:00:00 GMT\r\nRetry-After: Tue, 01 Jan 2030 00:00:09 GMT", 9.0),
        (b"Date: Tue, 01 Jan 2030 00:00:00 GMT\r\nRetry-After: soon", None),
        (b"Retry-After: Tue, 01 Jan 2030 00:00:09 GMT", None),
        (b"Retry-After: Tue, 01 Jan 2030 00:00:09 +99999999999999999999", None),
    ],
)
async def test_the_next_attempt_waits_as_long_as_the_target_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: bytes, pause: float | None
) -> None:
    """Jitter must not shorten Retry-After; the longest pause may."""
    slept = list[float]()

    async def sleep(_clock: SystemClock, seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(SystemClock, "sleep", sleep)
    async with (
        outputs_bench(tmp_path, longest_pause=20, attempts=1) as bench,
        answering(b"HTTP/1.1 429 Later\r\n" + wish + b"\r\n" + NO_BODY) as url,
    ):
        await bench.add(url=url)
        bench.send()
        await until(lambda: bool(slept))
        failed = await bench.event("outputFailed")

    assert failed["reason"] == "targetFailed"
    assert slept[0] == pause if pause else slept[0] <= 0.01
