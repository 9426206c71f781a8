"""CoAP over UDP: the responses to devices, and the published events."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from span_events.errors import ListenerUnavailable
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.listeners.base import Listener
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, Type, decode, encode, uint
from tests.bench.fleets import CAUSE
from tests.listeners.coap.bench import PING, PONG, CoapBench, coap_bench, get, post


async def test_a_con_post_is_a_message_and_gets_a_piggybacked_created(coap: CoapBench) -> None:
    """Any path is an upstream message; the reply has the request's message id and token."""
    reply = await coap.client.exchange(post(b"hello", path="data/on/server", message_id=7, token=b"ab"))

    assert reply == CoapMessage(Type.ACK, Code.CREATED, 7, b"ab")
    assert coap.fleet.names == ["clientConnected", "upstreamMessage"]
    (message,) = coap.fleet.messages
    assert (message.payload, message.coap_code, message.coap_path) == (b"hello", "POST", "/data/on/server")
    assert message.local_port == coap.server[1]


async def test_a_non_confirmable_post_gets_a_non_confirmable_created(coap: CoapBench) -> None:
    """The reply has a message id of the server; its token pairs it with the request."""
    reply = await coap.client.exchange(post(b"hello", kind=Type.NON, token=b"ab"))

    assert (reply.type, reply.code, reply.token) == (Type.NON, Code.CREATED, b"ab")
    assert coap.payloads == [b"hello"]


async def test_a_request_may_have_no_token(coap: CoapBench) -> None:
    """Two of Span's samples send none and match the message id."""
    reply = await coap.client.exchange(post(b"hello", message_id=9, token=b""))

    assert reply == CoapMessage(Type.ACK, Code.CREATED, 9)


async def test_each_of_many_requests_without_tokens_is_answered(coap: CoapBench) -> None:
    """Requests of several devices at the same time stay apart."""
    clients = [coap.client_at("127.0.0.1") for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(post(b"%d" % number, message_id=number, token=b""))

    assert [decode(await client.receive()).message_id for client in clients] == list(range(20))
    assert len(coap.payloads) == 20


async def test_a_queued_message_is_the_payload_of_the_created(coap: CoapBench) -> None:
    """The event names the upstream message as its cause."""
    await coap.queue(b"lamp on")

    reply = await coap.client.exchange(post(b"hello"))

    assert (reply.code, reply.payload) == (Code.CREATED, b"lamp on")
    assert coap.fleet.names == ["clientConnected", "upstreamMessage", "downstreamMessage"]
    assert coap.fleet.events[-1].correlation_id == coap.fleet.messages[0].id
    assert coap.fleet.outbox.next_for(coap.device) is None


async def test_a_poll_gets_the_oldest_queued_message_then_an_empty_content(coap: CoapBench) -> None:
    """A GET of any path is a poll, and no upstream message."""
    await coap.queue(b"first")
    await coap.queue(b"second")

    replies = [await coap.client.exchange(get(message_id=number)) for number in range(3)]

    assert [(reply.code, reply.payload) for reply in replies] == [
        (Code.CONTENT, b"first"),
        (Code.CONTENT, b"second"),
        (Code.CONTENT, b""),
    ]
    assert coap.fleet.names == ["clientConnected", "downstreamMessage", "downstreamMessage"]
    assert coap.payloads == []
    assert coap.device.traffic.polls == 3


async def test_discovery_consumes_nothing(coap: CoapBench) -> None:
    """GET /.well-known/core lists links (RFC 6690)."""
    await coap.queue(b"waits")

    reply = await coap.client.exchange(get(path=".well-known/core"))

    assert (reply.code, reply.options) == (Code.CONTENT, ((Option.CONTENT_FORMAT, b"\x28"),))
    assert reply.payload.startswith(b"</>")
    assert coap.fleet.outbox.next_for(coap.device) is not None


@pytest.mark.parametrize("code", [Code.PUT, Code.DELETE, Code.FETCH, 0x1F])
async def test_other_methods_are_not_allowed(coap: CoapBench, code: int) -> None:
    """4.05, and an event that names the method."""
    reply = await coap.client.exchange(post(b"hello", code=code))

    assert reply.code == Code.METHOD_NOT_ALLOWED
    ((name, data),) = coap.fleet.published
    assert (name, data["reason"]) == ("messageRejected", "methodNotAllowed")
    assert data["detail"].endswith("wanted POST or GET")


@pytest.mark.parametrize("path", ["u", "fw", "blob"])
@pytest.mark.parametrize("code", [Code.GET, Code.POST])
async def test_requests_to_reserved_paths_are_no_messages(coap: CoapBench, path: str, code: Code) -> None:
    """5.01 while the service is disabled."""
    reply = await coap.client.exchange(post(path=path, code=code))

    assert (reply.code, reply.payload) == (Code.NOT_IMPLEMENTED, f"/{path} is not switched on here".encode())
    assert [data["reason"] for _, data in coap.fleet.published] == ["notImplemented"]
    assert coap.payloads == []


async def test_a_request_from_an_unknown_address_is_rejected_with_header_and_token_only(coap: CoapBench) -> None:
    """F06: 4.01, and an event without a collection, for subscribers of ``/`` only; a text would amplify."""
    stranger = coap.client_at("127.0.0.9")

    reply = await stranger.exchange(post(b"hello", message_id=3))

    assert reply == CoapMessage(Type.ACK, Code.UNAUTHORIZED, 3, b"t")
    ((name, data),) = coap.fleet.published
    assert (name, data["reason"], data["remoteAddress"]) == ("messageRejected", "unknownAddress", stranger.remote)
    assert coap.fleet.events[0].origin.collection_id is None


async def test_a_disabled_device_is_forbidden_to_send(coap: CoapBench) -> None:
    """F07: 4.03, for a NON as a NON."""
    await coap.fleet.devices.update(coap.device, DeviceChange(enabled=False), cause=CAUSE)
    coap.fleet.activities.clear()

    reply = await coap.client.exchange(post(b"hello", kind=Type.NON))

    assert (reply.type, reply.code, reply.payload) == (Type.NON, Code.FORBIDDEN, b"this device is disabled")
    assert [data["reason"] for _, data in coap.fleet.published] == ["deviceDisabled"]


async def test_a_device_of_a_disabled_collection_is_forbidden_to_send(coap: CoapBench) -> None:
    """F07 again."""
    await coap.fleet.collections.update(coap.device.collection, CollectionChange(enabled=False), cause=1)

    reply = await coap.client.exchange(post(b"hello"))

    assert (reply.code, reply.payload) == (Code.FORBIDDEN, b"the device's collection is disabled")


async def test_a_device_over_its_rate_limit_gets_the_time_of_the_next_try(tmp_path: Path) -> None:
    """F28: 4.29 with Max-Age (RFC 8516), one event."""
    async with coap_bench(tmp_path, messages={"rate": 1.0, "burst": 2}) as coap:
        replies = [await coap.client.exchange(post(b"x", message_id=number)) for number in range(6)]

        assert [reply.code for reply in replies[:2]] == [Code.CREATED, Code.CREATED]
        assert replies[-1] == CoapMessage(
            Type.ACK,
            Code.TOO_MANY_REQUESTS,
            5,
            b"t",
            ((Option.MAX_AGE, b"\x01"),),
            b"too many messages; slow down",
        )
        assert [data["reason"] for _, data in coap.fleet.published if "reason" in data] == ["rateLimited"]


@pytest.mark.parametrize(
    ("datagram", "at", "reset"),
    [
        ("4902123400", "0", True),
        ("40021234b361", "4", True),
        ("40021234b261ff", "6", True),
        ("40201234", "1", True),
        ("50021234b361", "4", False),
        ("80021234", "0", False),
        ("400212", "3", False),
        ("70021234", "1", False),
    ],
)
async def test_the_event_of_a_malformed_message_names_octet_and_reason(
    coap: CoapBench, datagram: str, at: str, reset: bool
) -> None:
    """F24: a CON gets a reset; other types and other versions get no response."""
    if reset:
        coap.client.send(bytes.fromhex(datagram))
        assert await coap.client.receive() == bytes.fromhex("70001234")
    else:
        assert await coap.client.gets_no_answer(bytes.fromhex(datagram))

    ((name, data),) = coap.fleet.published
    assert (name, data["reason"], data["at"]) == ("messageRejected", "malformed", at)
    assert (
        "wanted" in data["detail"]
        or "left" in data["detail"]
        or "UTF-8" in data["detail"]
        or "header" in data["detail"]
    )
    assert coap.listener.endpoint.malformed == 1


async def test_the_response_to_an_unknown_critical_option_names_the_option(coap: CoapBench) -> None:
    """F25: 4.02 for a CON (RFC 7252 §5.4.1)."""
    reply = await coap.client.exchange(post(b"x", options=((65001, b"v"),)))

    assert (reply.code, reply.payload) == (Code.BAD_OPTION, b"option 65001 is not served here")
    ((_, data),) = coap.fleet.published
    assert (data["reason"], data["option"]) == ("unknownCriticalOption", "65001")
    assert coap.payloads == []


async def test_a_non_with_an_unknown_critical_option_gets_no_response(coap: CoapBench) -> None:
    """The rejection is published only (RFC 7252 §5.4.1)."""
    assert await coap.client.gets_no_answer(post(b"x", kind=Type.NON, options=((9, b""),)))
    assert [data["option"] for _, data in coap.fleet.published] == ["9"]


@pytest.mark.parametrize("option", [Option.PROXY_URI, Option.PROXY_SCHEME])
async def test_requests_to_a_proxy_are_rejected(coap: CoapBench, option: Option) -> None:
    """5.05 (RFC 7252 §5.10.2)."""
    reply = await coap.client.exchange(post(b"x", options=((option, b"coap"),)))

    assert reply.code == Code.PROXYING_NOT_SUPPORTED
    assert [data["reason"] for _, data in coap.fleet.published] == ["proxyingNotSupported"]


async def test_elective_options_are_ignored(coap: CoapBench) -> None:
    """Observe, and all other options with an even number."""
    options: Options = ((Option.OBSERVE, b""), (260, b"\x02"), (65000, b"?"), (Option.URI_QUERY, b"a=1"))

    assert (await coap.client.exchange(post(b"x", options=options))).code == Code.CREATED
    assert coap.payloads == [b"x"]


async def test_requests_of_the_broken_sample_are_accepted(coap: CoapBench) -> None:
    """Span's libcoap sample: stray octets as host, a port of 5 octets, a path of 134 raw octets."""
    path = b"mydata\0" + bytes(range(127, 254))
    options = ((Option.URI_HOST, b"\xff\x01"), (Option.URI_PORT, b"\x16\x33\0\0\0"), (Option.URI_PATH, path))

    reply = await coap.client.exchange(encode(CoapMessage(Type.CON, Code.POST, 5, b"", options, b"hello")))

    assert reply == CoapMessage(Type.ACK, Code.CREATED, 5)
    assert coap.fleet.messages[0].coap_path == "/mydata"


async def test_a_ping_is_answered_with_a_reset(coap: CoapBench) -> None:
    """RFC 7252 §4.3; libcoap sends one every 10 s."""
    coap.client.send(PING)

    assert await coap.client.receive() == PONG
    assert coap.fleet.names == []


@pytest.mark.parametrize("datagram", ["60001234", "70001234"])
async def test_messages_that_match_no_exchange_are_dropped_and_counted(coap: CoapBench, datagram: str) -> None:
    """Acknowledgements and resets that match no message of the server."""
    assert await coap.client.gets_no_answer(bytes.fromhex(datagram))
    assert coap.listener.endpoint.dropped == 1
    assert coap.fleet.names == []


@pytest.mark.parametrize("datagram", ["60451234", "51451234aa"])
async def test_a_response_without_a_request_is_told(coap: CoapBench, datagram: str) -> None:
    """A beginner writes 69 (2.05) into the code field, and a server pushes notifications that nobody asked for."""
    assert await coap.client.gets_no_answer(bytes.fromhex(datagram))
    assert coap.listener.endpoint.dropped == 1
    ((name, data),) = coap.fleet.published
    assert (name, data["reason"], data["code"]) == ("messageRejected", "unexpectedResponse", "2.05")


async def test_a_confirmable_response_without_a_request_is_reset(coap: CoapBench) -> None:
    """The reset ends the retransmissions of the device (RFC 7252 §4.2)."""
    coap.client.send(bytes.fromhex("41451234aa"))

    assert await coap.client.receive() == bytes.fromhex("70001234")
    assert coap.listener.endpoint.dropped == 1


async def test_ipv6_devices_are_served(tmp_path: Path) -> None:
    """Events have the address in brackets."""
    async with coap_bench(tmp_path, coap={"host": "::1"}, address="::1") as coap:
        reply = await coap.client.exchange(post(b"hello"))

        assert coap.listener.address.startswith("[::1]:")
        assert reply.code == Code.CREATED
        assert coap.fleet.published[0][1]["remoteAddress"] == coap.client.remote


async def test_ipv4_devices_are_identified_on_an_ipv6_socket(tmp_path: Path) -> None:
    """The kernel reports them as ``::ffff:127.0.0.1``."""
    async with coap_bench(tmp_path, coap={"host": "::"}) as coap:
        coap.server = ("127.0.0.1", coap.server[1])

        reply = await coap.client_at("127.0.0.1").exchange(post(b"hello"))

        assert reply.code == Code.CREATED


async def test_the_error_of_a_port_in_use_names_the_port(coap: CoapBench, tmp_path: Path) -> None:
    """The start fails with `ListenerUnavailable`."""
    (tmp_path / "second").mkdir()
    with pytest.raises(ListenerUnavailable, match=rf"coap: cannot bind 127\.0\.0\.1 port {coap.server[1]}/udp"):
        async with coap_bench(tmp_path / "second", coap={"port": coap.server[1]}):
            pass


async def test_stopping_twice_does_no_harm(coap: CoapBench) -> None:
    """The supervisor may stop a listener twice."""
    listener: Listener = coap.listener

    await listener.stop()
    await listener.stop()


async def test_after_garbage_requests_are_served_and_the_log_is_empty(
    coap: CoapBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Random and mutated datagrams cause neither defects nor log lines."""
    chance = random.Random(7)
    good = post(b"payload", options=((Option.BLOCK1, uint(0x16)), (Option.BLOCK2, uint(0x26))))
    with caplog.at_level(logging.WARNING):
        for number in range(3000):
            if number % 2:
                datagram = chance.randbytes(chance.randrange(64))
            else:
                mutated = bytearray(good)
                mutated[chance.randrange(len(mutated))] = chance.randrange(256)
                datagram = bytes(mutated)
            coap.client.send(datagram)
            if number % 100 == 0:
                coap.fleet.clock.shift(100.0)
                coap.client.send(PING)
                while await coap.client.receive() != PONG:
                    pass
        reply = await coap.client_at("127.0.0.1").exchange(post(b"alive"))

    assert reply.code == Code.CREATED
    assert coap.listener.defects == 0
    assert caplog.records == []
