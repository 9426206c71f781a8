"""The HTTP port for blobs: requests that are refused, with the reason and the required form."""

from __future__ import annotations

from pathlib import Path

import pytest

from span_events.fleet.devices.devices import DeviceChange
from tests.bench.fleets import CAUSE
from tests.bench.waiting import until
from tests.fleet.cellular.reports import known, seen
from tests.listeners.blobs.bench import (
    HEAD,
    BlobBench,
    blob_bench,
    exchange,
    rejections,
    upload,
)


async def test_an_unknown_address_is_refused(tmp_path: Path) -> None:
    """The event has no owner, and reports the announced size."""
    async with blob_bench(tmp_path, address="10.0.0.1") as blobs:
        answer = await blobs.curl("--data-binary", "octets")

        assert (answer.status, answer.text[:16]) == (403, "unknownAddress: ")
        assert blobs.fleet.events[0].origin.collection_id is None
        (name, data) = blobs.fleet.drain()[0]
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
        told = [data["reason"] for name, data in blobs.fleet.published if name == "messageRejected"]

    assert (answer.status, answer.text[:13]) == (403, "notAttached: ")
    assert told == ["notAttached"]


async def test_a_disabled_device_is_refused(blobs: BlobBench) -> None:
    await blobs.fleet.devices.update(blobs.device, DeviceChange(enabled=False), cause=CAUSE)
    blobs.fleet.activities.clear()
    answer = await blobs.curl("--data-binary", "octets")

    assert (answer.status, answer.text[:16]) == (403, "deviceDisabled: ")
    assert rejections(blobs) == [("messageRejected", "deviceDisabled", None)]
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
    assert rejections(blobs) == [("messageRejected", reason, detail)]


async def test_a_wrong_method_gets_an_allow_field(blobs: BlobBench) -> None:
    """RFC 9110 §15.5.6."""
    assert (await blobs.curl()).fields["Allow"] == "POST"


async def test_an_oversized_blob_is_refused_while_the_client_still_sends(blobs: BlobBench, tmp_path: Path) -> None:
    """The reply must reach a client that reads only after it has sent everything."""
    file = tmp_path / "large"
    file.write_bytes(bytes(4_000_000))
    answer = await blobs.curl("--data-binary", f"@{file}", "-H", "Expect:")

    assert (answer.status, answer.text) == (413, "tooLarge: 4000000 octets, at most 500000 (blobs.max_size)\n")
    (_, data) = blobs.fleet.drain()[0]
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
    (_, data) = blobs.fleet.drain()[0]
    assert (data["reason"], data["detail"], data["at"]) == ("malformed", detail, at)
