"""The HTTP port for blobs: curl, and clients that are slow, stalled, malformed or disconnected."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from span_events.accepting import RefusedAccepts
from span_events.config import BlobsConfig
from span_events.errors import ListenerUnavailable
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import render
from span_events.listeners.blobs.clients import PlainAcceptor
from span_events.listeners.blobs.listener import BlobListener
from span_events.listeners.tcp import TcpStream
from span_events.wire.coap.messages import Code
from span_events.wire.http_head import CONTINUE
from tests.bench.fleets import CAUSE
from tests.bench.servers import running
from tests.bench.waiting import until
from tests.fleet.cellular.reports import known, seen
from tests.listeners.blobs.bench import Answer, BlobBench, blob_bench, read_answer
from tests.listeners.coap.bench import RawClient as UdpClient
from tests.listeners.coap.bench import post

PHOTO = b"\xff\xd8\xff photo " + os.urandom(300_000)
HEAD = b"POST /x HTTP/1.1\r\nHost: span\r\nConnection: close\r\n"
SMALL: dict[str, Any] = {"max_size": 500_000, "uploads": 2, "uploads_per_device": 2, "connections": 2}
FAST: dict[str, Any] = {"header_timeout": 0.1, "rate_window": 0.1, "min_rate": 100.0, "upload_timeout": 60.0}


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[BlobBench]:
    """Both ports with small limits and the default timeouts."""
    async with blob_bench(tmp_path, blobs=SMALL) as bench:
        yield bench


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[BlobBench]:
    """Both ports with very short timeouts."""
    async with blob_bench(tmp_path, blobs=FAST) as bench:
        yield bench


def upload(content: bytes, *fields: bytes, length: int | None = None) -> bytes:
    """Write a request; its Content-Length is that of the content unless another is given."""
    size = len(content) if length is None else length
    return HEAD + b"".join(each + b"\r\n" for each in fields) + b"Content-Length: %d\r\n\r\n" % size + content


def told(bench: BlobBench) -> list[tuple[str, str, str | None]]:
    """Return the rejections: name, reason and detail."""
    return [(name, data["reason"], data.get("detail")) for name, data in bench.fleet.take()]


async def exchange(bench: BlobBench, octets: bytes) -> Answer:
    """Send octets and wait for the reply."""
    with bench.client() as client:
        await client.send(octets)
        return await client.answer()


# ---- what goes well --------------------------------------------------------------------------


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
    assert blobs.fleet.take() == [
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


# ---- what is refused -------------------------------------------------------------------------


async def test_an_unknown_address_is_refused(tmp_path: Path) -> None:
    """The event has no owner, and reports the announced size."""
    async with blob_bench(tmp_path, address="10.0.0.1") as blobs:
        answer = await blobs.curl("--data-binary", "octets")

        assert (answer.status, answer.text[:16]) == (403, "unknownAddress: ")
        assert blobs.fleet.events[0].origin.collection_id is None
        (name, data) = blobs.fleet.take()[0]
        assert (name, data["reason"], data["bytes"], data["transport"]) == (
            "messageRejected",
            "unknownAddress",
            "6",
            "http",
        )


async def test_a_device_that_is_not_attached_gets_the_reason(tmp_path: Path) -> None:
    """The reply gives the same reason as the event: the address belongs to a device that is not attached."""
    async with blob_bench(tmp_path, address="10.0.0.1") as blobs:
        await known(blobs.fleet, allocated_ip="127.0.0.1")
        blobs.fleet.cellular.accounting.start(seen(address="127.0.0.1"))
        blobs.fleet.cellular.accounting.stop(seen(address="127.0.0.1"))
        blobs.fleet.activities.clear()
        answer = await blobs.curl("--data-binary", "octets")
        told = [data["reason"] for name, data in blobs.fleet.told if name == "messageRejected"]

    assert (answer.status, answer.text[:13]) == (403, "notAttached: ")
    assert told == ["notAttached"]


async def test_a_disabled_device_is_refused(blobs: BlobBench) -> None:
    await blobs.fleet.devices.update(blobs.device, DeviceChange(enabled=False), cause=CAUSE)
    blobs.fleet.activities.clear()
    answer = await blobs.curl("--data-binary", "octets")

    assert (answer.status, answer.text[:16]) == (403, "deviceDisabled: ")
    assert told(blobs) == [("messageRejected", "deviceDisabled", None)]
    assert blobs.files == []


async def test_a_rate_limited_device_gets_retry_after(tmp_path: Path) -> None:
    """An upload counts as one message."""
    async with blob_bench(tmp_path, messages={"rate": 1.0, "burst": 1}) as blobs:
        answers = [await blobs.curl("--data-binary", "x") for _ in range(3)]

        assert [each.status for each in answers] == [200, 200, 429]
        assert answers[2].fields["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("arguments", "status", "reason", "detail"),
    [
        (("-X", "GET"), 405, "methodNotAllowed", "GET, wanted POST"),
        (("-X", "PUT", "-d", "x"), 405, "methodNotAllowed", "PUT, wanted POST"),
        (("--head",), 405, "methodNotAllowed", "HEAD, wanted POST"),
        (("-X", "POST"), 411, "lengthRequired", "the request has no length, wanted Content-Length"),
        (
            ("-d", "x", "-H", "Transfer-Encoding: gzip", "-H", "Content-Length:"),
            411,
            "lengthRequired",
            "the request has Transfer-Encoding, wanted Content-Length",
        ),
        (("-d", "x", "-H", "Content-Length: x"), 400, "malformed", "Content-Length is 'x', wanted one decimal number"),
    ],
)
async def test_an_unsuitable_request_gets_the_required_form(
    blobs: BlobBench, arguments: tuple[str, ...], status: int, reason: str, detail: str
) -> None:
    """By the reply and by the event of its device."""
    answer = await blobs.curl(*arguments)

    assert answer.status == status
    assert answer.text == ("" if "--head" in arguments else f"{reason}: {detail}\n")
    assert blobs.fleet.events[0].origin == blobs.device.origin
    assert told(blobs) == [("messageRejected", reason, detail)]


async def test_a_wrong_method_gets_an_allow_field(blobs: BlobBench) -> None:
    """RFC 9110 §15.5.6."""
    assert (await blobs.curl()).fields["Allow"] == "POST"


async def test_an_oversized_blob_is_refused_while_the_client_still_sends(blobs: BlobBench, tmp_path: Path) -> None:
    """The reply must reach a client that reads only after it has sent everything."""
    file = tmp_path / "large"
    file.write_bytes(bytes(4_000_000))
    answer = await blobs.curl("--data-binary", f"@{file}", "-H", "Expect:")

    assert (answer.status, answer.text) == (413, "tooLarge: 4000000 octets, at most 500000 (blobs.max_size)\n")
    (_, data) = blobs.fleet.take()[0]
    assert (data["limit"], data["bytes"]) == ("500000", "4000000")
    assert blobs.files == []


async def test_an_upload_into_a_full_collection_is_refused(tmp_path: Path) -> None:
    async with blob_bench(tmp_path, blobs={"per_collection": 1}) as blobs:
        answers = [await blobs.curl("--data-binary", "x") for _ in range(2)]

        assert [(each.status, each.text[:12]) for each in answers] == [
            (200, "stored as bl"),
            (507, "storageFull:"),
        ]


async def test_an_upload_beyond_the_limit_gets_retry_after(tmp_path: Path) -> None:
    async with blob_bench(tmp_path, blobs={"uploads": 1}) as blobs:
        with blobs.client() as first:
            await first.send(upload(b"x", length=2))
            await until(lambda: len(blobs.files) == 1)
            answer = await blobs.curl("--data-binary", "x")
            await first.send(b"y")
            served = await first.answer()

        assert (answer.status, answer.text) == (503, "serverBusy: blobs.uploads is 1\n")
        assert answer.fields["Retry-After"] == "10"
        assert served.status == 200


@pytest.mark.parametrize(
    ("octets", "detail", "at"),
    [
        (b"\x16\x03\x01\x00\xa5\x01", "this is TLS, wanted HTTP; HTTPS has a port of its own", "0"),
        (b"hello\r\n\r\n", "the request line is 'hello', wanted METHOD TARGET HTTP/1.1", "0"),
        (b"POST / HTTP/1.1\r\nA b\r\n\r\n", "a header line is 'A b', wanted NAME: VALUE", "17"),
        (HEAD + b"A: " + b"b" * 9_000, "the head of the request is over 8192 octets", "8192"),
    ],
)
async def test_input_that_is_not_http_is_refused_at_once(blobs: BlobBench, octets: bytes, detail: str, at: str) -> None:
    """The event has the octet at which parsing stopped."""
    answer = await exchange(blobs, octets)

    assert (answer.status, answer.text) == (400, f"malformed: {detail}\n")
    (_, data) = blobs.fleet.take()[0]
    assert (data["reason"], data["detail"], data["at"]) == ("malformed", detail, at)


# ---- clients that do not come to an end ------------------------------------------------------


async def test_an_incomplete_request_times_out(impatient: BlobBench) -> None:
    answer = await exchange(impatient, HEAD)
    detail = f"{len(HEAD)} octets of a request in 0.1 s (blobs.header_timeout)"

    assert (answer.status, answer.text) == (408, f"tooSlow: {detail}\n")
    assert told(impatient) == [("messageRejected", "tooSlow", detail)]


async def test_an_upload_that_stalls_is_ended(impatient: BlobBench) -> None:
    """The received octets are reported and removed."""
    answer = await exchange(impatient, upload(b"abc", length=1000))
    detail = "3 octets in 0.1 s after 0 of 1000 octets, wanted 10 (blobs.min_rate, blobs.rate_window)"
    await until(lambda: impatient.files == [])

    assert (answer.status, answer.text) == (408, f"tooSlow: {detail}\n")
    assert told(impatient) == [("messageRejected", "tooSlow", detail)]
    assert impatient.blobs == []


async def test_an_upload_below_the_minimum_rate_is_ended(impatient: BlobBench) -> None:
    """Single octets at long intervals are too slow."""
    with impatient.client() as client:
        await client.send(upload(b"", length=1000))
        while not impatient.fleet.names:
            await client.send(b"x")
            await asyncio.sleep(0.03)  # this is what the test is about
    ((_, reason, detail),) = told(impatient)

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
    async with blob_bench(tmp_path, blobs={"rate_window": 1.0, "min_rate": 3.0}) as blobs:
        with blobs.client() as client:
            await client.send(upload(b"", length=40))
            for _ in range(10):
                await client.send(b"four")
                await asyncio.sleep(0.12)  # this is what the test is about
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
    ((_, reason, detail),) = told(blobs)
    assert (reason, detail) == ("incomplete", answer.text[12:-1])
    assert blobs.blobs == []


async def test_a_reset_connection_leaves_no_file(blobs: BlobBench) -> None:
    with blobs.client() as client:
        await client.send(upload(b"x" * 100_000, length=200_000))
        await until(lambda: blobs.files != [])
        client.break_off()
    await until(lambda: blobs.fleet.names == ["messageRejected"])
    await until(lambda: blobs.files == [])
    ((_, reason, detail),) = told(blobs)

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
    assert told(blobs) == [("messageRejected", "incomplete", detail)]


async def test_an_interrupted_request_is_published(blobs: BlobBench) -> None:
    with blobs.client() as client:
        await client.send(HEAD)
        client.end()
        await client.receive()
    detail = f"the connection ended after {len(HEAD)} octets, within the head of the request"

    assert told(blobs) == [("messageRejected", "incomplete", detail)]


async def test_a_connection_without_octets_publishes_nothing(blobs: BlobBench) -> None:
    """A port scan."""
    with blobs.client() as client:
        client.end()
        said = await client.receive()

    assert said == b""
    assert blobs.fleet.names == []


# ---- the port --------------------------------------------------------------------------------


async def test_a_new_connection_takes_the_place_of_the_oldest_without_a_request(blobs: BlobBench) -> None:
    """Idle connections must not exclude devices."""
    with blobs.client() as oldest, blobs.client() as younger:
        await until(lambda: blobs.plain.accepted == 2)
        answer = await blobs.curl("--data-binary", "octets")
        said = await oldest.receive()
        await younger.send(upload(b"mine"))
        served = await younger.answer()

    assert (answer.status, said, served.status) == (200, b"", 200)
    assert blobs.plain.displaced == 1


async def test_a_new_connection_is_closed_if_all_are_uploading(blobs: BlobBench) -> None:
    """No running upload is ended for another one."""
    with blobs.client() as first, blobs.client() as second:
        for each in (first, second):
            await each.send(upload(b"", length=6))
        await until(lambda: len(blobs.files) == 2)
        with blobs.client() as another:
            said = await another.receive()
        for each in (first, second):
            await each.send(b"octets")
        answers = [await each.answer() for each in (first, second)]

    assert said == b""
    assert [each.status for each in answers] == [200, 200]


async def test_stopping_closes_running_uploads(blobs: BlobBench) -> None:
    """No file is left, and the server does not wait for the client."""
    with blobs.client() as client:
        await client.send(upload(b"", length=6))
        await until(lambda: len(blobs.files) == 1)
        await blobs.plain.stop()
        said = await client.receive()
    await blobs.fleet.blobs.close()

    assert said == b""
    assert blobs.files == []


async def test_a_defect_is_counted_and_answered(blobs: BlobBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next upload is served."""
    with monkeypatch.context() as patch:
        patch.setattr(blobs.fleet.reception, "identify", lambda *_, **__: 1 // 0)
        answer = await blobs.curl("--data-binary", "x")
    again = await blobs.curl("--data-binary", "x")

    assert (answer.status, answer.text) == (500, "this is the server's fault\n")
    assert again.status == 200
    assert {each.name: each.value() for each in blobs.plain.metrics()}["blobs_defects"] == 1


async def test_a_defect_before_the_request_is_counted_too(blobs: BlobBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends, and the next upload is served."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(PlainAcceptor, "open", fail)
        with blobs.client() as client:
            await until(lambda: blobs.plain.defects == 1)
            said = await client.receive()
    again = await blobs.curl("--data-binary", "x")

    assert (said, again.status) == (b"", 200)


async def test_a_port_that_is_taken_is_named_with_its_setting(blobs: BlobBench) -> None:
    port = int(blobs.plain.address.rpartition(":")[2])
    second = BlobListener(
        "blobs_tls",
        BlobsConfig(),
        setting="blobs.tls_port",
        port=port,
        acceptor=PlainAcceptor(blobs.fleet.reception, blobs.fleet.directory),
        blobs=blobs.fleet.blobs,
        clock=blobs.fleet.clock,
        refused=RefusedAccepts(blobs.fleet.clock),
    )
    with pytest.raises(ListenerUnavailable) as caught:
        await second.start()

    assert f"port {port}/tcp" in str(caught.value)
    assert "SPAN_EVENTS_BLOBS__TLS_PORT=0" in caught.value.hint


async def test_disabled_blobs_are_not_served(tmp_path: Path) -> None:
    """Neither the ports nor the path of CoAP; the other paths are served."""
    async with running(tmp_path, blobs={"enabled": False}) as it:
        await it.device(await it.collection(), "127.0.0.1")
        host, _, port = it.server.addresses["coap"].rpartition(":")
        with closing(UdpClient("127.0.0.1", (host, int(port)))) as client:
            replies = [
                await client.exchange(post(b"x", path=path, message_id=n)) for n, path in enumerate(("blob", "x"))
            ]

        assert not {"blobs", "blobs_tls"} & it.server.addresses.keys()
        assert [each.code for each in replies] == [Code.NOT_IMPLEMENTED, Code.CREATED]


async def test_a_cut_upload_counts_the_octets_that_came_with_the_head(blobs: BlobBench) -> None:
    """The developer compares the number with what the device sent."""
    with blobs.client() as client:
        await client.send(upload(b"12345", length=50))
        await until(lambda: blobs.files != [])
        await client.send(b"67890")
        client.end()
        answer = await client.answer()

    assert answer.text == "incomplete: the connection ended after 10 of 50 octets\n"


# ---- chunks and forms ------------------------------------------------------------------------


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
    assert told(blobs)[0][1] == "tooLarge"


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
    ((name, data),) = blobs.fleet.take()

    assert blobs.contents == [b"a;b\r\n1;2\r\n"]
    assert (name, data["contentType"], data["size"]) == ("blobUpload", "text/csv", "10")
    assert data["detail"] == "unpacked from multipart/form-data"


async def test_a_form_without_a_file_says_that_the_blob_holds_boundaries(blobs: BlobBench) -> None:
    await blobs.curl("-F", "unit=celsius")
    ((_, data),) = blobs.fleet.take()

    assert b'name="unit"' in blobs.contents[0]
    assert data["detail"].endswith("the blob holds the boundaries")


async def test_a_form_with_two_files_is_refused(blobs: BlobBench, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x")
    answer = await blobs.curl("-F", f"one=@{file}", "-F", f"two=@{file}")

    assert answer.text == "malformed: the form has more than one file, wanted one for each request\n"
