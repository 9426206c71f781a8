"""Findings of the field about blobs over HTTP."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from span_events.events.reasons import MessageRejectedReason
from tests.bench.programs import run
from tests.faults.scene import EXTENDED, Scene


async def test_device_16_a_cut_upload_counts_the_octets_that_came_with_the_head(scene: Scene) -> None:
    """10 of 50, of which the first 5 came with the head."""
    host, _, port = scene.server.addresses["blobs"].rpartition(":")
    with closing(socket.create_connection((host, int(port)), source_address=(scene.device.address, 0))) as device:
        device.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 50\r\n\r\n1234567890")
    data = await scene.rejected(MessageRejectedReason.INCOMPLETE)

    assert data["detail"].startswith("the connection ended after 10 of 50 octets")


async def test_device_18_a_chunked_upload_is_a_blob(scene: Scene) -> None:
    """Curl reads its standard input, so it knows no length."""
    await run(*_curl(scene), "--data-binary", "@-", "-H", "Transfer-Encoding: chunked", typed="hello")

    assert (await scene.published("blobUpload"))["data"]["size"] == "5"


async def test_device_18_a_file_in_a_form_is_unpacked(scene: Scene) -> None:
    """The event says so."""
    await run(*_curl(scene), "-F", "file=@-;filename=a.csv;type=text/csv", typed="1;2")
    data = (await scene.published("blobUpload"))["data"]

    assert (data["size"], data["contentType"]) == ("3", "text/csv")
    assert data["detail"] == "unpacked from multipart/form-data"


def _curl(scene: Scene) -> tuple[str, ...]:
    return ("curl", "-sS", "--interface", scene.device.address, f"http://{scene.server.addresses['blobs']}/x")


@pytest.mark.parametrize(
    ("arguments", "reason", "offered"),
    [
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"), "noSharedCipher", "ECDHE-ECDSA-AES128-SHA"),
        (("-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"), "unsupportedVersion", "TLS 1.1"),
        (("-tls1_3",), "noCredentials", None),
    ],
)
async def test_device_14_a_refusal_over_https_names_offer_and_stage(
    scene: Scene, arguments: tuple[str, ...], reason: str, offered: str | None
) -> None:
    """And its hint suggests no PSK, which only DTLS has."""
    async with scene.server.tail(query=EXTENDED) as everything:
        await run("openssl", "s_client", "-connect", scene.server.addresses["blobs_tls"], *arguments)
        event = await everything.until("clientRejected", transport="https")

    assert (event["data"]["reason"], event["data"].get("offered")) == (reason, offered)
    assert event["data"]["stage"] == ("ClientHello" if offered else "ServerHello")
    assert "PSK" not in event["hint"].replace("for DTLS a PSK", "") or not offered
