"""Findings of the field about CoAP messages; the octets are those of the reports."""

from __future__ import annotations

import pytest

from span_events.events.reasons import MessageRejectedReason
from span_events.wire.coap.messages import CoapMessage, Code, Option, Type, encode, option_of
from tests.faults.firmware import FirmwareScene
from tests.faults.scene import Scene
from tests.listeners.coap.bench import get, post


async def test_device_04_an_elective_option_of_a_wrong_length_is_ignored(scene: Scene) -> None:
    """A Content-Format of 4 octets (RFC 7252 §5.4.3): the message counts."""
    reply = await scene.coap().exchange(bytes.fromhex("4102010401b1781400000032ff6869"))
    await scene.published("upstreamMessage", path="/x", bytes="2")

    assert reply.code == Code.CREATED


async def test_device_04_a_critical_option_of_a_wrong_length_is_a_bad_option(scene: Scene) -> None:
    """An Accept of 3 octets."""
    reply = await scene.coap().exchange(bytes.fromhex("4101010201b17863000032"))
    data = await scene.rejected(MessageRejectedReason.UNKNOWN_CRITICAL_OPTION)

    assert (reply.type, reply.code) == (Type.ACK, Code.BAD_OPTION)
    assert data["option"] == "17"


async def test_device_07_two_requests_under_way_that_are_both_repeated_are_two_messages(scene: Scene) -> None:
    """F59: the copies get the first answers."""
    device = scene.coap()
    octets = [bytes.fromhex(each) for each in ("41020001a1b164ff41", "41020002b1b164ff42")]
    replies = [await device.exchange(each) for each in octets * 2]
    names = await scene.names_until_now()

    assert replies[:2] == replies[2:]
    assert (names.count("upstreamMessage"), names.count("messageDuplicate")) == (2, 2)


@pytest.mark.parametrize("octets", ["4145011f01ff6869", "5145011f01ff6869"], ids=["CON", "NON"])
async def test_device_08_a_response_that_answers_nothing_is_told(scene: Scene, octets: str) -> None:
    """F54: a beginner writes 69, the code of 2.05, into the code field."""
    scene.coap().send(bytes.fromhex(octets))
    data = await scene.rejected(MessageRejectedReason.UNEXPECTED_RESPONSE)

    assert data["code"] == "2.05"
    assert data["detail"] == "code octet 69 is a response (2.05), wanted 1 to 31: a request"


async def test_device_10_discovery_honours_the_block_size_of_the_request(scene: Scene) -> None:
    """RFC 7959 §2.4: Block2 0/0/16, then each later block."""
    device = scene.coap()
    first = await device.exchange(bytes.fromhex("4101012201bb2e77656c6c2d6b6e6f776e04636f7265c100"))
    second = await device.exchange(bytes.fromhex("4101012301bb2e77656c6c2d6b6e6f776e04636f7265c110"))

    assert (len(first.payload), option_of(first, Option.BLOCK2)) == (16, b"\x08")
    assert (len(second.payload), option_of(second, Option.BLOCK2)) == (16, b"\x18")
    assert (first.payload + second.payload).startswith(b'</>;title="POST sends')


@pytest.mark.parametrize("path", [".well-known/core", "fw"])
async def test_device_16_an_accept_that_cannot_be_served_is_not_acceptable(firmware: FirmwareScene, path: str) -> None:
    """4.06 (RFC 7252 §5.10.4); 60 is CBOR."""
    reply = await firmware.scene.coap().exchange(get(path=path, options=((int(Option.ACCEPT), b"\x3c"),)))
    await firmware.scene.rejected(MessageRejectedReason.NOT_ACCEPTABLE)

    assert reply.code == Code.NOT_ACCEPTABLE


async def test_device_12_a_near_miss_of_a_reserved_path_is_told(scene: Scene) -> None:
    """F55: libcoap sends ``u/`` for ``coap://host/u/``; the octets are a report."""
    reply = await scene.coap().exchange(bytes.fromhex("4102011901b17500ff0105312e302e30"))
    data = (await scene.published("upstreamMessage"))["data"]

    assert reply.code == Code.CREATED
    assert data["looksLike"] == "u"
    assert data["detail"].startswith("looks like the reserved path u")


@pytest.mark.parametrize(
    ("path", "code", "name"),
    [("FW", Code.GET, "fw"), ("u/", Code.GET, "u"), ("Blob", Code.PUT, "blob"), (".well-known/CORE", Code.GET, "")],
)
async def test_device_12_a_poll_at_a_near_miss_spends_no_message(
    scene: Scene, path: str, code: Code, name: str
) -> None:
    """A device that asks for its image would write the waiting message into its flash."""
    await scene.server.call("POST", f"{scene.device.path}/outbox", {"payload": "bGFtcA=="})
    options = tuple((int(Option.URI_PATH), each.encode()) for each in path.split("/"))
    device = scene.coap()
    reply = await device.exchange(encode(CoapMessage(Type.CON, code, 7, b"t", options)))

    if not name:  # the path of discovery is none of ours: any request may be a poll
        assert (reply.code, reply.payload) == (Code.CONTENT, b"lamp")
        return
    data = await scene.rejected(MessageRejectedReason.NEARLY_RESERVED)
    assert (data["looksLike"], data["detail"]) == (name, reply.payload.decode())
    assert reply.code == Code.NOT_FOUND
    assert (await device.exchange(get(path="poll", message_id=8))).payload == b"lamp"


@pytest.mark.parametrize("token", [b"", b"t"], ids=["without a token", "one token for all"])
async def test_device_07_requests_under_way_without_tokens_of_their_own_are_new_but_marked(
    scene: Scene, token: bytes
) -> None:
    """A device that reboots sends the same octets: no message may be lost, so the second copy says what it may be."""
    device = scene.coap()
    first, second = (post(each, message_id=number, token=token) for number, each in ((1, b"A"), (2, b"B")))
    for request in (first, second, first, second, second):
        await device.exchange(request)
    marks = [(await scene.published("upstreamMessage"))["data"].get("detail", "") for _ in range(4)]
    duplicate = await scene.published("messageDuplicate")

    assert marks[:2] == ["", ""]
    assert all(each.startswith("the same octets came 0.") for each in marks[2:])
    assert duplicate["data"]["count"] == "2"


async def test_device_15_a_repeated_non_has_a_hint_of_its_own(scene: Scene) -> None:
    """No acknowledgement was lost, as a NON has none."""
    device = scene.coap()
    for _ in range(2):
        device.send(post(b"hello", kind=Type.NON))
    event = await scene.published("messageDuplicate")

    assert event["data"]["reason"] == "nonConfirmable"
    assert "acknowledgement" not in event["hint"]


async def test_device_18_no_response_saves_the_reply(scene: Scene) -> None:
    """RFC 7967: 2 suppresses 2.xx, so a NON gets nothing and a CON an empty ACK; the waiting message stays."""
    await scene.server.call("POST", f"{scene.device.path}/outbox", {"payload": "bGFtcA=="})
    device = scene.coap()
    option = ((int(Option.NO_RESPONSE), b"\x02"),)
    silent = await device.gets_no_answer(post(b"a", kind=Type.NON, message_id=1, options=option))
    bare = await device.exchange(post(b"b", message_id=2, options=option))
    refused = await device.exchange(post(b"c", message_id=3, options=((9, b""), *option)))
    reply = await device.exchange(post(b"d", message_id=4))

    assert silent
    assert bare == CoapMessage(Type.ACK, Code.EMPTY, 2)
    assert refused.code == Code.BAD_OPTION
    assert reply.payload == b"lamp"


async def test_diagnosis_11_the_oddities_of_a_sample_are_noted(scene: Scene) -> None:
    """Uri-Port of 5 octets, and a path that is cut at a NUL: accepted, but told."""
    options = ((int(Option.URI_PORT), b"\x16\x33\0\0\0"), (int(Option.URI_PATH), b"mydata\0\x80\x81"))
    reply = await scene.coap().exchange(encode(CoapMessage(Type.CON, Code.POST, 5, b"", options, b"hello")))
    data = (await scene.published("upstreamMessage"))["data"]

    assert reply.code == Code.CREATED
    assert data["detail"] == "Uri-Port has 5 octets: ignored; Uri-Path holds a NUL: cut after 6 of 9 octets"
