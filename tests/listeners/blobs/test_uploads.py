"""The HTTP port for blobs: uploads that are stored, whole, in chunks and in forms."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from span_events.ids import render
from span_events.wire.http_head import CONTINUE
from tests.bench.waiting import until
from tests.listeners.blobs.bench import (
    HEAD,
    PHOTO,
    BlobBench,
    blob_bench,
    exchange,
    read_answer,
    rejections,
    upload,
)


async def test_an_upload_by_curl_is_stored(blobs: BlobBench, tmp_path: Path) -> None:
    """Any path; the address identifies the device."""
    file = tmp_path / "photo.jpg"
    file.write_bytes(PHOTO)
    answer = await blobs.curl("--data-binary", f"@{file}", path="camera/front?shot=1")
    (blob,) = blobs.blobs

    assert (answer.status, answer.text) == (200, f"stored as blob {render(blob.id)}\n")
    assert answer.fields["Connection"] == "close"
    assert blobs.contents == [PHOTO]
    assert blob.properties["method"] == "POST"
    assert blob.properties["path"] == "/camera/front"
    assert blob.properties["address"].startswith("127.0.0.1:")
    assert blobs.fleet.drain() == [
        (
            "blobUpload",
            {"blobId": render(blob.id), "size": str(len(PHOTO)), "contentType": "image/jpeg", "path": "/camera/front"},
        )
    ]


async def test_a_head_in_many_small_pieces_is_read(blobs: BlobBench) -> None:
    """The C sample sends each line by itself, and reads until the server closes."""
    with blobs.client() as client:
        for line in (b"POST /microblob HTTP/1.1\r\n", b"Content-Type: application/binary\r\n", b"Host: span\r\n"):
            await client.send(line)
        await client.send(b"Connection: close\r\nContent-Length: 51200\r\n")
        await client.send(b"\r\n")
        for _ in range(100):
            await client.send(b"\x07" * 512)
        answer = await client.answer()

    assert answer.status == 200
    assert blobs.contents == [b"\x07" * 51_200]


async def test_an_expected_100_continue_is_sent(blobs: BlobBench) -> None:
    """As curl does it sends more than 1 MiB (RFC 9110 §10.1.1)."""
    with blobs.client() as client:
        await client.send(upload(b"", b"Expect: 100-continue", length=6))
        await client.hear(CONTINUE)
        await client.send(b"octets")
        answer = await client.answer()

    assert answer.status == 200
    assert blobs.contents == [b"octets"]


async def test_an_oversized_upload_is_refused_instead_of_a_100_continue(blobs: BlobBench) -> None:
    """That is what waiting is for."""
    with blobs.client() as client:
        await client.send(upload(b"", b"Expect: 100-continue", length=500_001))
        said = await client.receive()

    assert said.startswith(b"HTTP/1.1 413 ")


async def test_octets_after_the_content_are_ignored(blobs: BlobBench) -> None:
    """One connection is one upload."""
    answer = await exchange(blobs, upload(b"octets") + upload(b"more"))

    assert answer.status == 200
    assert blobs.contents == [b"octets"]


async def test_uploads_are_served_concurrently(tmp_path: Path) -> None:
    """No upload waits for another."""
    async with blob_bench(tmp_path, blobs={"uploads_per_device": 20}) as blobs:
        with blobs.client() as slow:
            await slow.send(upload(b"first half", length=20))
            answers = await asyncio.gather(*(blobs.curl("--data-binary", f"number {each}") for each in range(10)))
            await slow.send(b"second one")
            last = await slow.answer()

        assert [each.status for each in (*answers, last)] == [200] * 11
        assert set(blobs.contents) == {f"number {each}".encode() for each in range(10)} | {b"first halfsecond one"}


async def test_an_ipv4_device_is_identified_on_a_dual_stack_port(tmp_path: Path) -> None:
    """A socket for IPv6 reports IPv4 addresses in mapped form."""
    async with blob_bench(tmp_path, blobs={"host": "::"}) as blobs:
        port = int(blobs.plain.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(upload(b"octets"))
            said = await asyncio.to_thread(client.recv, 65_536)

        assert read_answer(said).status == 200


async def test_an_upload_in_chunks_is_stored(blobs: BlobBench, tmp_path: Path) -> None:
    """Some modems can do nothing else (RFC 9112 §7.1)."""
    file = tmp_path / "log"
    file.write_bytes(b"x" * 200_000)
    answer = await blobs.curl("--data-binary", f"@{file}", "-H", "Transfer-Encoding: chunked")

    assert answer.status == 200
    assert blobs.contents == [b"x" * 200_000]


async def test_chunks_have_the_same_limits(blobs: BlobBench, tmp_path: Path) -> None:
    """The limit is reached while the chunks arrive; nothing stays."""
    file = tmp_path / "log"
    file.write_bytes(b"x" * 600_000)
    answer = await blobs.curl("--data-binary", f"@{file}", "-H", "Transfer-Encoding: chunked")
    await until(lambda: blobs.files == [])

    assert answer.status == 413
    assert rejections(blobs)[0][1] == "tooLarge"


@pytest.mark.parametrize(
    ("octets", "status", "reason", "detail"),
    [
        (b"5\r\nhello\r\n", 400, "incomplete", "the connection ended after 5 octets"),
        (b"x\r\n", 400, "malformed", "the size of a chunk is b'x', wanted hexadecimal digits"),
    ],
)
async def test_broken_chunks_are_refused(
    blobs: BlobBench, octets: bytes, status: int, reason: str, detail: str
) -> None:
    """The reason is that of the same fault with a length."""
    with blobs.client() as client:
        await client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + octets)
        client.end()
        answer = await client.answer()

    assert (answer.status, answer.text) == (status, f"{reason}: {detail}\n")


@pytest.mark.parametrize(
    ("octets", "other"),
    [
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "Content-Length"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"),
    ],
)
async def test_chunks_with_a_length_or_in_http_1_0_are_malformed(blobs: BlobBench, octets: bytes, other: str) -> None:
    """RFC 9112 §6.1: proxies would disagree about the end."""
    answer = await exchange(blobs, octets)

    assert answer.text == f"malformed: Transfer-Encoding and {other} exclude each other (RFC 9112 6.1)\n"


async def test_a_file_in_a_form_is_unpacked(blobs: BlobBench, tmp_path: Path) -> None:
    """Curl's -F, with a field beside the file."""
    file = tmp_path / "notes.csv"
    file.write_bytes(b"a;b\r\n1;2\r\n")
    await blobs.curl("-F", "unit=celsius", "-F", f"file=@{file};type=text/csv")
    ((name, data),) = blobs.fleet.drain()

    assert blobs.contents == [b"a;b\r\n1;2\r\n"]
    assert (name, data["contentType"], data["size"]) == ("blobUpload", "text/csv", "10")
    assert data["detail"] == "unpacked from multipart/form-data"


async def test_a_form_without_a_file_says_that_the_blob_holds_boundaries(blobs: BlobBench) -> None:
    await blobs.curl("-F", "unit=celsius")
    ((_, data),) = blobs.fleet.drain()

    assert b'name="unit"' in blobs.contents[0]
    assert data["detail"].endswith("the blob holds the boundaries")


async def test_a_form_with_two_files_is_refused(blobs: BlobBench, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x")
    answer = await blobs.curl("-F", f"one=@{file}", "-F", f"two=@{file}")

    assert answer.text == "malformed: the form has more than one file, wanted one for each request\n"
