"""The HTTP port for blobs: clients that are slow, stalled or disconnected."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from span_events.listeners.tcp import TcpStream
from span_events.wire.http_head import CONTINUE
from tests.bench.waiting import until
from tests.listeners.blobs.bench import (
    HEAD,
    BlobBench,
    blob_bench,
    exchange,
    rejections,
    upload,
)


async def test_an_incomplete_request_times_out(impatient: BlobBench) -> None:
    answer = await exchange(impatient, HEAD)
    detail = f"{len(HEAD)} octets of a request in 0.5 s (blobs.header_timeout)"

    assert (answer.status, answer.text) == (408, f"tooSlow: {detail}\n")
    assert rejections(impatient) == [("messageRejected", "tooSlow", detail)]


async def test_an_upload_that_stalls_is_ended(impatient: BlobBench) -> None:
    """The received octets are reported and removed."""
    answer = await exchange(impatient, upload(b"abc", length=1000))
    detail = "3 octets in 0.1 s after 0 of 1000 octets, wanted 10 (blobs.min_rate, blobs.rate_window)"
    await until(lambda: impatient.files == [])

    assert (answer.status, answer.text) == (408, f"tooSlow: {detail}\n")
    assert rejections(impatient) == [("messageRejected", "tooSlow", detail)]
    assert impatient.blobs == []


async def test_an_upload_below_the_minimum_rate_is_ended(impatient: BlobBench) -> None:
    """Single octets at long intervals are too slow."""
    with impatient.client() as client:
        await client.send(upload(b"", length=1000))
        while not impatient.fleet.names:
            await client.send(b"x")
            await asyncio.sleep(0.03)  # this is what the test is about
    ((_, reason, detail),) = rejections(impatient)

    assert reason == "tooSlow"
    assert detail is not None
    assert detail.endswith("wanted 10 (blobs.min_rate, blobs.rate_window)")


async def test_an_upload_beyond_the_total_time_is_ended(tmp_path: Path) -> None:
    """Even if the octets arrive steadily."""
    async with blob_bench(tmp_path, blobs={"upload_timeout": 0.1}) as blobs:
        answer = await exchange(blobs, upload(b"", length=1000))

        assert (answer.status, answer.text) == (408, "tooSlow: 0 of 1000 octets in 0.1 s (blobs.upload_timeout)\n")


async def test_a_slow_upload_above_the_minimum_rate_is_stored(tmp_path: Path) -> None:
    """A window starts when the previous one has received its octets."""
    async with blob_bench(tmp_path, blobs={"rate_window": 10.0, "min_rate": 0.3}) as blobs:
        with blobs.client() as client:
            await client.send(upload(b"", length=40))
            for _ in range(10):
                await client.send(b"four")
                await asyncio.sleep(0.05)  # this is what the test is about
            answer = await client.answer()

        assert answer.status == 200
        assert blobs.contents == [b"four" * 10]


async def test_a_connection_that_ends_early_leaves_no_file(blobs: BlobBench) -> None:
    """The client gets the reply if it still reads."""
    with blobs.client() as client:
        await client.send(upload(b"x" * 100_000, length=200_000))
        client.end()
        answer = await client.answer()
    await until(lambda: blobs.files == [])

    assert (answer.status, answer.text[:12]) == (400, "incomplete: ")
    ((_, reason, detail),) = rejections(blobs)
    assert (reason, detail) == ("incomplete", answer.text[12:-1])
    assert blobs.blobs == []


async def test_a_reset_connection_leaves_no_file(blobs: BlobBench) -> None:
    with blobs.client() as client:
        await client.send(upload(b"x" * 100_000, length=200_000))
        await until(lambda: blobs.files != [])
        client.break_off()
    await until(lambda: blobs.fleet.names == ["messageRejected"])
    await until(lambda: blobs.files == [])
    ((_, reason, detail),) = rejections(blobs)

    assert reason == "incomplete"
    assert detail is not None
    assert "of 200000 octets" in detail


async def test_a_reset_before_100_continue_is_no_defect(blobs: BlobBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device may lose its power at any moment."""
    write = TcpStream.write

    async def fail(stream: TcpStream, octets: bytes) -> None:
        if octets == CONTINUE:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        await write(stream, octets)

    monkeypatch.setattr(TcpStream, "write", fail)
    answer = await exchange(blobs, upload(b"", b"Expect: 100-continue", length=6))
    detail = "the connection ended after 0 of 6 octets: Connection reset by peer"

    assert (answer.status, answer.text) == (400, f"incomplete: {detail}\n")
    assert rejections(blobs) == [("messageRejected", "incomplete", detail)]


async def test_an_interrupted_request_is_published(blobs: BlobBench) -> None:
    with blobs.client() as client:
        await client.send(HEAD)
        client.end()
        await client.receive()
    detail = f"the connection ended after {len(HEAD)} octets, within the head of the request"

    assert rejections(blobs) == [("messageRejected", "incomplete", detail)]


async def test_a_connection_without_octets_publishes_nothing(blobs: BlobBench) -> None:
    """A port scan."""
    with blobs.client() as client:
        client.end()
        said = await client.receive()

    assert said == b""
    assert blobs.fleet.names == []
