"""Reports of firmware versions over CoAP, and the place of the download in the response."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.events.message import Transport
from span_events.listeners.coap.answer import Answer
from span_events.listeners.coap.peer import Peer
from span_events.wire.coap.blocks import Block, write_block
from span_events.wire.coap.messages import Code, Option, Type, decode
from span_events.wire.fota import Report, Response, decode_response, encode_report
from tests.bench.fleets import fleet_bench
from tests.listeners.coap.bench import CoapBench, get, post
from tests.listeners.coap.firmware_bench import (
    IMAGE,
    REPORT,
    firmware_bench,
    firmware_services,
    give_target,
    report,
)


@pytest.fixture
async def coap(tmp_path: Path) -> AsyncIterator[CoapBench]:
    """The same with default settings."""
    async with firmware_bench(tmp_path) as bench:
        yield bench


@pytest.mark.parametrize("token", [b"", b"t", b"12345678"])
@pytest.mark.parametrize("kind", [Type.CON, Type.NON])
async def test_a_report_is_answered_with_the_place_of_the_download(coap: CoapBench, token: bytes, kind: Type) -> None:
    """2.04, piggybacked: where this listener is bound. Span's own clients send no token."""
    reply = await coap.client.exchange(report(token=token, kind=kind))

    assert (reply.code, reply.token) == (Code.CHANGED, token)
    assert reply.type is (Type.ACK if kind is Type.CON else Type.NON)
    assert decode_response(reply.payload) == Response("127.0.0.1", coap.server[1], "/fw", available=True)
    assert coap.fleet.names == ["clientConnected", "firmwareCheck", "firmwareUpdateRequired"]
    assert len({each.correlation_id for each in coap.fleet.events}) == 1
    assert coap.payloads == []


async def test_a_response_without_an_update_has_all_four_fields(coap: CoapBench) -> None:
    """Some devices leave missing fields uninitialised."""
    reply = await coap.client.exchange(report(encode_report(Report("1.1"))))

    assert decode_response(reply.payload) == Response("127.0.0.1", coap.server[1], "/fw", available=False)


async def test_the_configuration_sets_the_place_of_the_download(tmp_path: Path) -> None:
    """Host, port and path; requests to /fw are still no messages."""
    place = {"coap_host": "fw.example.com", "coap_port": 5700, "path": "/image"}
    async with firmware_bench(tmp_path, firmware=place) as coap:
        reply = await coap.client.exchange(report())
        image = await coap.client.exchange(get(path="image", message_id=2))
        other = await coap.client.exchange(get(path="fw", message_id=3))

    assert decode_response(reply.payload) == Response("fw.example.com", 5700, "/image", available=True)
    assert image.payload == IMAGE[:256]
    assert other.code == Code.NOT_IMPLEMENTED


@pytest.mark.parametrize(("bind", "client"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::", "127.0.0.1")])
async def test_a_listener_on_all_addresses_reports_the_address_that_the_device_reached(
    tmp_path: Path, bind: str, client: str
) -> None:
    """The address is the source address of the route to the device."""
    async with firmware_bench(tmp_path, coap={"host": bind}, address=client) as coap:
        coap.server = (client, coap.server[1])
        reply = await coap.client_at(client).exchange(report())

    assert decode_response(reply.payload).host == client


@pytest.mark.parametrize(
    ("bound", "remote", "why"),
    [
        (
            "2001:db8:1234:5678:9abc:def0:1:2",
            "2001:db8::2",
            "devices have room for 24 characters, not for 2001:db8:1234:5678:9abc:def0:1:2: set its host in [firmware]",
        ),
        (
            "0.0.0.0",
            "255.255.255.255",
            "the address that the device reached is not known: set its host in the table [firmware]",
        ),
    ],
)
async def test_an_unusable_download_address_is_left_out(tmp_path: Path, bound: str, remote: str, why: str) -> None:
    """It is too long for devices, or unknown; the event names the setting."""
    async with fleet_bench(tmp_path) as fleet:
        device = await fleet.device(remote)
        await give_target(fleet, device)
        service = firmware_services()(fleet)[0](Transport.COAP, (bound, 5683))
        request = decode(report())
        answer = service.answer(Peer(remote, (remote, 5683), device, request, None), "/u")
        name, data = fleet.published[-1]

    assert isinstance(answer, Answer)
    assert decode_response(answer.payload) == Response("", 5683, "/fw", available=False)
    assert (name, data["state"], data["message"]) == ("firmwareStateChange", "Pending", why)


@pytest.mark.parametrize(
    ("payload", "detail", "at"),
    [
        (b"", "the report has no version, wanted field 1 with text", "0"),
        (REPORT[5:], "the report has no version, wanted field 1 with text", str(len(REPORT) - 5)),
        (REPORT[:-1], "field 2 says 8 octets, 7 are left", str(len(REPORT) - 10)),
        (b"\x01\x01\xff", "field 1 is not UTF-8: 0xff stands there", "2"),
    ],
)
async def test_a_malformed_report_is_rejected_and_published(
    coap: CoapBench, payload: bytes, detail: str, at: str
) -> None:
    """F29: 4.00 with a diagnostic, and an event with the octet."""
    reply = await coap.client.exchange(report(payload))
    ((name, data),) = coap.fleet.published

    assert (reply.code, reply.payload) == (Code.BAD_REQUEST, detail.encode())
    assert name == "messageRejected"
    assert data == {
        "reason": "malformed",
        "detail": detail,
        "at": at,
        "remoteAddress": coap.client.remote,
        "transport": "coap",
    }


async def test_a_report_in_blocks_is_rejected(coap: CoapBench) -> None:
    """A report that fits into its first block is accepted."""
    blocks = [Block(0, True, 1), Block(1, False, 1), Block(0, False, 6)]
    replies = [
        await coap.client.exchange(report(message_id=number, options=((int(Option.BLOCK1), write_block(block)),)))
        for number, block in enumerate(blocks)
    ]

    assert [each.code for each in replies] == [Code.BAD_REQUEST, Code.BAD_REQUEST, Code.CHANGED]


async def test_other_methods_are_rejected(coap: CoapBench) -> None:
    """POST u and GET fw, nothing else."""
    replies = [
        await coap.client.exchange(post(REPORT, path=path, code=code, message_id=number))
        for number, (path, code) in enumerate([("u", Code.GET), ("u", Code.PUT), ("fw", Code.POST), ("fw", 9)])
    ]
    details = [data["detail"] for _, data in coap.fleet.published]

    assert [each.code for each in replies] == [Code.METHOD_NOT_ALLOWED] * 4
    assert details == [
        "GET /u, wanted POST",
        "PUT /u, wanted POST",
        "POST /fw, wanted GET",
        "method 0.09 /fw, wanted GET",
    ]


async def test_a_duplicate_report_counts_once(coap: CoapBench) -> None:
    """F23 for reports: the reply comes from memory, without a second firmwareCheck."""
    first = await coap.client.exchange(report())
    again = await coap.client.exchange(report())

    assert first == again
    assert coap.fleet.names == ["clientConnected", "firmwareCheck", "firmwareUpdateRequired", "messageDuplicate"]


async def test_the_response_to_a_report_honours_the_block_size_of_the_request(coap: CoapBench) -> None:
    """RFC 7959 §2.4; the device asks for the rest with further POSTs without a payload."""
    whole = (await coap.client.exchange(report(message_id=1))).payload
    blocks = [
        await coap.client.exchange(
            report(REPORT if not number else b"", message_id=2 + number, options=_block2(number, exponent=0))
        )
        for number in range(-(-len(whole) // 16))
    ]

    assert b"".join(block.payload for block in blocks) == whole
    assert {block.code for block in blocks} == {Code.CHANGED}
    assert len(blocks[0].payload) == 16
    assert coap.fleet.names.count("firmwareCheck") == 2


def _block2(number: int, exponent: int) -> tuple[tuple[int, bytes], ...]:
    return ((int(Option.BLOCK2), write_block(Block(number, more=False, exponent=exponent))),)
