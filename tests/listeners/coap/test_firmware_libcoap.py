"""Firmware updates with libcoap's client, over CoAP and CoAPS."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from span_events.registry.model import Device
from span_events.wire.fota import Report, Response, decode_response, encode_report
from tests.bench.fleets import FleetBench
from tests.bench.programs import output_of
from tests.bench.waiting import until
from tests.listeners.coap.bench import CoapBench
from tests.listeners.coap.firmware_bench import (
    IMAGE,
    REPORT,
    fetch,
    firmware_bench,
    firmware_services,
    give_target,
)
from tests.listeners.coap.test_libcoap import CLIENT
from tests.listeners.dtls.bench import address_of, dtls_bench


@pytest.fixture
async def coap(tmp_path: Path) -> AsyncIterator[CoapBench]:
    """The same with default settings."""
    async with firmware_bench(tmp_path) as bench:
        yield bench


async def run(uri: str, *arguments: str | Path) -> str:
    """Run libcoap's client and return its output."""
    return await output_of(CLIENT, "-B", "60", *map(str, arguments), uri)


async def update(fleet: FleetBench, device: Device, uri: str, folder: Path, *arguments: str | Path) -> Response:
    """Report, download and report again with libcoap's client; return the first response."""
    old, new, place, image = (folder / name for name in ("old", "new", "place", "image"))
    old.write_bytes(REPORT)
    new.write_bytes(encode_report(Report("1.1")))
    await run(f"{uri}/u", *arguments, "-m", "post", "-f", old, "-o", place)
    await run(f"{uri}/fw", *arguments, "-m", "get", "-o", image)
    await run(f"{uri}/u", *arguments, "-m", "post", "-f", new, "-o", folder / "reply")
    await until(lambda: device.firmware.state == "Current")
    names = [each for each in fleet.names if each.startswith("firmware")]

    assert image.read_bytes() == IMAGE
    assert names[:4] == ["firmwareCheck", "firmwareUpdateRequired", "firmwareRequested", "firmwareStateChange"]
    assert names[-3:] == ["firmwareCheck", "firmwareCurrent", "firmwareStateChange"]
    return decode_response(place.read_bytes())


@pytest.mark.parametrize("option", [[], ["-N"], ["-b", "64"], ["-b", "1024"], ["-T", "token"]])
async def test_libcoap_updates_a_device(coap: CoapBench, tmp_path: Path, option: list[str]) -> None:
    """Over CoAP."""
    place = await update(coap.fleet, coap.device, f"coap://127.0.0.1:{coap.server[1]}", tmp_path, *option)

    assert place == Response("127.0.0.1", coap.server[1], "/fw", available=True)


async def test_libcoap_updates_a_device_over_dtls(tmp_path: Path) -> None:
    """The device has a certificate; each of the three requests has its own session."""
    async with dtls_bench(tmp_path, services=firmware_services()) as bench:
        await give_target(bench.fleet, bench.device)
        certificate, key = tmp_path / "cert.crt", tmp_path / "key.pem"
        chain = (bench.holder.certificate, *bench.holder.chain)
        certificate.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        key.write_bytes(bench.holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        port = address_of(bench.coaps)[1]
        identity = ("-c", certificate, "-j", key, "-n")
        place = await update(bench.fleet, bench.device, f"coaps://127.0.0.1:{port}", tmp_path, *identity)

        assert place == Response("127.0.0.1", port, "/fw", available=True)
        assert bench.fleet.names.count("clientConnected") == 3


async def test_libcoap_resumes_a_download_in_the_middle(coap: CoapBench, tmp_path: Path) -> None:
    """F30: TimedOut with block and percent; then the client continues with the next block, one per run."""
    file, rest = tmp_path / "block", b""
    for number in range(6):
        await coap.client.exchange(fetch(number, 5, message_id=number))
    coap.fleet.clock.shift(121)
    coap.fleet.firmware.sweep()
    name, stopped = coap.fleet.published[-1]
    for number in range(6, 10):
        await run(f"coap://127.0.0.1:{coap.server[1]}/fw", "-b", f"{number},512", "-m", "get", "-o", file)
        rest += file.read_bytes()

    assert (name, stopped["state"], stopped["block"], stopped["percent"]) == (
        *("firmwareStateChange", "TimedOut"),
        *("5", "61"),
    )
    assert rest == IMAGE[6 * 512 :]
    assert coap.device.firmware.state == "Updating"


async def test_libcoap_downloads_a_large_image_despite_packet_loss(tmp_path: Path) -> None:
    """The client retransmits one lost datagram."""
    octets = random.Random(6).randbytes(20_000)
    async with firmware_bench(tmp_path, octets=octets) as coap:
        file = tmp_path / "image"
        await run(f"coap://127.0.0.1:{coap.server[1]}/fw", "-b", "1024", "-l", "5", "-m", "get", "-o", file)

    assert file.read_bytes() == octets
