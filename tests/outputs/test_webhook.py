"""Webhooks: their requests, their failures, and the addresses that they must not reach."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from span_events.errors import InvalidRequest
from span_events.fleet.outputs.outputs import OutputChange
from span_events.proto import chirpstack_pb2 as pb
from span_events.registry.outputs import OutputType
from tests.bench.peers.mosquitto import self_signed
from tests.bench.waiting import until
from tests.outputs.conftest import OutputsBench, Target, outputs_bench

SECRET = "whsec_" + b64encode(bytes(range(24))).decode()


async def test_a_webhook_posts_messages_as_span_does(bench: OutputsBench, target: Target) -> None:
    await bench.add(url=target.url)
    bench.send(b"hi")
    await until(lambda: bool(target.requests))
    ((request, _),) = target.requests
    ((message,),) = (body["messages"] for body in target.bodies)

    assert (request.method, request.path, request.headers["Content-Type"]) == ("POST", "/hook", "application/json")
    assert (message["type"], message["payload"], message["transport"]) == ("data", b64encode(b"hi").decode(), "udp")
    assert message["device"]["collectionId"]


async def test_waiting_messages_share_a_request(bench: OutputsBench, target: Target) -> None:
    await bench.add(url=target.url)
    for number in range(150):
        bench.send(b"%d" % number)
    await until(lambda: len(target.payloads) == 150)

    assert target.payloads == [b64encode(b"%d" % number).decode() for number in range(150)]
    assert [len(body["messages"]) for body in target.bodies] == [100, 50]


async def test_a_webhook_sends_credentials_and_a_signature(bench: OutputsBench, target: Target) -> None:
    """The signature is that of Standard Webhooks, checked as its page has it."""
    await bench.add(
        url=f"{target.url}?a=b",
        basic_auth_user="me",
        basic_auth_pass="pässword",
        custom_header_name="X-Api-Key",
        custom_header_value="k1",
        signing_secret=SECRET,
    )
    bench.send()
    await until(lambda: bool(target.requests))
    ((request, body),) = target.requests
    headers = request.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(base64.b64decode(SECRET[6:]), signed, hashlib.sha256).digest()

    assert request.query_string == "a=b"
    assert headers["Authorization"] == "Basic " + b64encode("me:pässword".encode()).decode()
    assert headers["X-Api-Key"] == "k1"
    assert headers["webhook-signature"] == "v1," + b64encode(digest).decode()


@pytest.mark.parametrize(
    ("format_", "media_type", "key"),
    [
        ("span", "application/json", "events"),
        ("cloudevents", "application/cloudevents+json", "specversion"),
        ("things-stack", "application/json", "unique_id"),
    ],
)
async def test_a_webhook_posts_events_in_a_dialect(
    bench: OutputsBench, target: Target, format_: str, media_type: str, key: str
) -> None:
    await bench.add(url=target.url, content="activity", format=format_)
    bench.send()
    await until(lambda: bool(target.requests))

    assert target.requests[0][0].headers["Content-Type"] == media_type
    assert key in target.bodies[0]


@pytest.mark.parametrize(
    ("format_", "media_type"),
    [("chirpstack", "application/json"), ("chirpstack-protobuf", "application/octet-stream")],
)
async def test_a_webhook_posts_events_as_chirpstack_does(
    bench: OutputsBench, target: Target, format_: str, media_type: str
) -> None:
    """The query names the kind of event; those that ChirpStack does not know are left out."""
    await bench.add(url=f"{target.url}?a=b", content="activity", format=format_)
    bench.send(b"hi")
    await until(lambda: len(target.requests) == 2)
    (log, _), (up, body) = target.requests

    assert (log.query_string, up.query_string) == ("a=b&event=log", "a=b&event=up")
    assert up.headers["Content-Type"] == media_type
    if format_ == "chirpstack":
        assert (orjson.loads(body)["data"], orjson.loads(body)["fPort"]) == (b64encode(b"hi").decode(), 1)
    else:
        assert pb.UplinkEvent.FromString(body).data == b"hi"


async def test_a_failure_is_an_event_with_the_answer_and_so_is_the_recovery(
    bench: OutputsBench, target: Target
) -> None:
    output = await bench.add(url=f"{target.url}?token=secret")

    async def fail(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=500, text="out of\r\ndisk " + "x" * 5000)

    target.answer = fail
    bench.send()
    failed = await bench.event("outputFailed")
    target.answer = None
    recovered = await bench.event("outputRecovered")
    health = bench.fleet.outputs_health.of(output)

    assert (failed["reason"], failed["status"], failed["target"]) == ("targetFailed", "500", target.url)
    assert failed["answer"].startswith("out of  disk xxx")
    assert len(failed["answer"]) <= 1024
    assert recovered["target"] == target.url
    assert len(bench.published("outputFailed")) == 1
    assert target.payloads == [b64encode(b"hello").decode()]
    assert (health.forwarded, health.dropped, health.failing_since) == (1, 0, None)
    assert health.log[0].message.startswith("targetFailed 500: out of")
    assert health.errors == health.log[0].repeated + 1 == health.retransmits


async def test_a_request_that_the_target_refuses_is_given_up(bench: OutputsBench, target: Target) -> None:
    """Another attempt would be refused, too; the next message has its own."""
    output = await bench.add(url=target.url)
    seen = []

    async def refuse(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.Response(status=401, text="who are you?")

    target.answer = refuse
    bench.send()
    failed = await bench.event("outputFailed")
    target.answer = None
    bench.send(b"next")
    await bench.event("outputRecovered")

    assert (failed["reason"], failed["answer"]) == ("refused", "who are you?")
    assert len(seen) == 1
    assert target.payloads == [b64encode(b"next").decode()]
    assert bench.fleet.outputs_health.of(output).dropped == 1


async def test_an_answer_of_error_ends_the_attempts_at_a_limit(tmp_path: Path, target: Target) -> None:
    async with outputs_bench(tmp_path, attempts=3) as bench:
        output = await bench.add(url=target.url)
        health = bench.fleet.outputs_health.of(output)

        async def fail(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=503)

        target.answer = fail
        bench.send()
        await until(lambda: health.dropped == 1)

        assert (health.errors, health.retransmits) == (3, 2)


async def test_a_redirect_is_not_followed(bench: OutputsBench, target: Target) -> None:
    await bench.add(url=target.url)

    async def redirect(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest"})

    target.answer = redirect
    bench.send()
    failed = await bench.event("outputFailed")

    assert (failed["reason"], failed["detail"]) == ("redirected", "http://169.254.169.254/latest")


async def test_a_target_that_restarts_gets_what_came_meanwhile(bench: OutputsBench, target: Target) -> None:
    await bench.add(url=target.url)
    bench.send(b"before")
    await until(lambda: len(target.payloads) == 1)
    await target.stop()
    for number in range(5):
        bench.send(b"%d" % number)
    failed = await bench.event("outputFailed")
    await target.start()
    await bench.event("outputRecovered")
    await until(lambda: len(target.payloads) >= 6)

    assert failed["reason"] == "unreachable"
    assert target.payloads == [b64encode(each).decode() for each in (b"before", b"0", b"1", b"2", b"3", b"4")]


async def test_a_full_queue_drops_the_oldest_and_counts_them(tmp_path: Path, target: Target) -> None:
    async with outputs_bench(tmp_path, queue=10, batch=1, timeout=100) as bench:
        output = await bench.add(url=target.url)
        release = asyncio.Event()

        async def hang(_request: web.Request) -> web.StreamResponse:
            await release.wait()
            return web.Response()

        target.answer = hang
        for number in range(30):
            bench.send(b"%d" % number)
        failed = await bench.event("outputFailed")
        health = bench.fleet.outputs_health.of(output)

        assert failed["reason"] == "queueFull"
        assert (health.received, health.waiting, health.dropped) == (30, 10, 20)
        release.set()
        target.answer = None
        await until(lambda: target.payloads[-1:] == [b64encode(b"29").decode()])


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "0x7f.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"),
        *("10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "[fe80::1]", "[fc00::1]"),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "[ff02::1]"),
        *("\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021"),  # IDNA makes 127.0.0.1
    ],
)
async def test_private_targets_are_refused(tmp_path: Path, target: Target, host: str) -> None:
    async with outputs_bench(tmp_path, allow_private=False) as bench:
        await bench.add(url=f"http://{host}:{target.port}/")
        bench.send()
        failed = await bench.event("outputFailed")

        assert failed["reason"] == "privateTarget"
        assert target.requests == []


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "config.url"),
        ({"url": "ftp://a/"}, "config.url"),
        ({"url": "http://"}, "config.url"),
        ({"url": "http://a:99999/"}, "config.url"),
        ({"url": "http://u:p@a/"}, "config.url"),
        ({"url": "http://a/\r\nX: y"}, "config.url"),
        ({"url": "http://a/", "custom_header_name": "X"}, "config.customHeaderName"),
        ({"url": "http://a/", "custom_header_name": "Host", "custom_header_value": "b"}, "config.customHeaderName"),
        ({"url": "http://a/", "custom_header_name": "X", "custom_header_value": "b\r\nc"}, "config.customHeaderValue"),
        ({"url": "http://a/", "basic_auth_user": "a:b"}, "config.basicAuthUser"),
        ({"url": "http://a/", "signing_secret": "whsec_AAAA"}, "config.signingSecret"),
        ({"url": "http://a/", "content": "all"}, "config.content"),
        ({"url": "http://a/", "content": "activity", "format": "xml"}, "config.format"),
        ({"url": "http://a/", "format": "cloudevents"}, "config.format"),
    ],
)
async def test_a_wrong_setting_is_named(bench: OutputsBench, config: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await bench.add(**config)

    assert caught.value.field == field


async def test_a_certificate_is_verified_unless_that_is_switched_off(bench: OutputsBench, tmp_path: Path) -> None:
    target = Target()
    target.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    target.tls.load_cert_chain(*self_signed(tmp_path))
    await target.start()
    try:
        url = target.url.replace("http:", "https:")
        await bench.add(url=url)
        bench.send()
        failed = await bench.event("outputFailed")
        assert target.requests == []
        await bench.add(url=url, disable_cert_check=True)
        bench.send(b"seen")
        await until(lambda: target.payloads == [b64encode(b"seen").decode()])
    finally:
        await target.stop()

    assert (failed["reason"], failed["target"]) == ("tlsFailed", url)
    assert "certificate verify failed" in failed["detail"]


async def test_the_broker_of_span_is_no_output_here(bench: OutputsBench) -> None:
    with pytest.raises(InvalidRequest, match="mqttbroker"):
        await bench.add(OutputType.BROKER)


async def test_a_disabled_output_gets_nothing_and_a_changed_one_the_rest(bench: OutputsBench, target: Target) -> None:
    output = await bench.add(url="http://127.0.0.1:1/")
    bench.send(b"waits")
    await bench.event("outputFailed")
    output = await bench.fleet.outputs.update(output, OutputChange(config={"url": target.url}))
    await until(lambda: len(target.payloads) == 1)
    await bench.fleet.outputs.update(output, OutputChange(enabled=False))
    bench.send(b"not sent")
    await bench.fleet.outputs.remove(output)

    assert target.payloads == [b64encode(b"waits").decode()]


async def test_one_private_address_of_a_name_is_enough_for_a_refusal(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server may mix addresses, or change its answer: the socket connects to checked addresses only."""
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, target.port)) for each in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr("span_events.outputs.targets.socket.getaddrinfo", lambda *_args, **_options: answer)
    async with outputs_bench(tmp_path, allow_private=False) as bench:
        await bench.add(url=f"http://rebinding.example:{target.port}/")
        bench.send()
        failed = await bench.event("outputFailed")

    assert (failed["reason"], failed["detail"]) == ("privateTarget", "rebinding.example: 127.0.0.1")
    assert target.requests == []
