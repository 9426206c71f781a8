"""F55: a path that is nearly a reserved one, so that the device waits for an answer that never comes."""

from __future__ import annotations

import pytest

from span_events.wire.coap.messages import CoapMessage, Code, Option, Type, encode
from tests.faults.scene import Scene


def request(*segments: bytes) -> bytes:
    """Write a POST with these segments of the path; an empty one comes from ``u/`` or ``//u``."""
    options = tuple((int(Option.URI_PATH), segment) for segment in segments)
    return encode(CoapMessage(Type.CON, Code.POST, 1, b"t", options, b"1.0.0"))


@pytest.mark.parametrize(
    ("segments", "name", "shown"),
    [
        ((b"u", b""), "u", "'u/'"),
        ((b"", b"u"), "u", "'/u'"),
        ((b"FW",), "fw", "'FW'"),
        ((b"Blob", b""), "blob", "'Blob/'"),
    ],
)
async def test_the_message_is_marked_with_the_reserved_path(
    scene: Scene, segments: tuple[bytes, ...], name: str, shown: str
) -> None:
    """It is a message nevertheless, since devices choose their paths."""
    reply = await scene.coap().exchange(request(*segments))
    data = (await scene.published("upstreamMessage"))["data"]

    assert reply.code == Code.CREATED
    assert data["looksLike"] == name
    assert data["detail"].startswith(f"looks like the reserved path {name}, but is {shown}")


async def test_libcoap_with_a_slash_at_the_end(scene: Scene) -> None:
    """The URI ``coap://host/u/`` has an empty last segment."""
    await scene.coap_client("-m", "post", "-e", "x", path="u/")

    assert (await scene.published("upstreamMessage"))["data"]["looksLike"] == "u"


async def test_other_paths_have_no_mark(scene: Scene) -> None:
    """Neither shorter nor longer ones."""
    device = scene.coap()
    for number, segments in enumerate(((b"v",), (b"u", b"x"), (b"fwd",))):
        await device.exchange(request(*segments)[:2] + number.to_bytes(2, "big") + request(*segments)[4:])
        assert "looksLike" not in (await scene.published("upstreamMessage"))["data"]
