"""Log lines of The Things Stack's clients: who joined and left, why, and what was refused; some clients hide that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.attacks.flooding_gateway import frame
from tests.bench.waiting import until
from tests.web.conftest import IN_MODULE, WebBench, web_bench
from tests.web.things_stack.client import Raw, application, body_of, device
from tests.web.things_stack.test_console import PATH, console
from tests.web.things_stack.test_grpc import listening
from tests.web.things_stack.wire import Client

pytestmark = IN_MODULE

REMOTE = "192.0.2.7"
Line = Mapping[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WebBench]:
    """An API behind a proxy on this machine."""
    async with web_bench(tmp_path_factory.mktemp("api"), http={"proxies": ("127.0.0.1",)}) as bench:
        yield bench


def named(lines: list[Any], event: str) -> list[Line]:
    """List the lines of one kind."""
    return [cast(Line, each) for each in lines if each["event"] == event]


async def refusal_of(lines: list[Any]) -> Line:
    """Wait for the one line of a refusal."""
    await until(lambda: bool(named(lines, "things_stack_refused")))
    (found,) = named(lines, "things_stack_refused")
    return found


async def test_a_stream_over_http_is_logged_with_the_address_of_its_client(api: WebBench) -> None:
    collection = await api.collection()
    with capture_logs() as lines:
        async with Raw(api, body_of(application(collection)), {"X-Forwarded-For": REMOTE}) as stream:
            await stream.event()
        await until(lambda: bool(named(lines, "subscriber_left")))
        await until(lambda: api.hub.subscribers == 0)
    (joined,) = named(lines, "subscriber_joined")

    assert (joined["path"], joined["remote"]) == ("/api/v3/events", REMOTE)


async def test_a_refused_request_is_logged_with_the_address_of_its_client(api: WebBench) -> None:
    """A body that cannot be decoded too."""
    await api.fleet.clock.advance(61.0)  # a line a minute
    with capture_logs() as lines:
        async with Raw(api, b'{"tail":"x"}', {"X-Forwarded-For": REMOTE}) as reply:
            assert reply.status == 400
        found = await refusal_of(lines)

    assert (found["reason"], found["remote"], found["path"]) == ("undecodable", REMOTE, "/api/v3/events")
    assert "tail: expect an unsigned 32-bit number" in found["why"]


@pytest.mark.parametrize(
    ("message", "reason", "why"),
    [
        ({"type": "subscribe", "id": "1"}, "undecodable", "id: expect a number"),
        ({"type": "watch", "id": 1}, "undecodable", "type: expect subscribe or unsubscribe"),
        ({"type": "subscribe", "id": 1}, "no_identifiers", "no identifiers"),
    ],
)
async def test_the_log_says_what_the_console_sent(api: WebBench, message: Line, reason: str, why: str) -> None:
    """Its close frame says no more than "failed to unmarshal JSON"."""
    await api.fleet.clock.advance(61.0)
    with capture_logs() as lines:
        async with console(api, additional_headers={"X-Forwarded-For": REMOTE}) as page:
            await page.connection.send(json.dumps(message))
            found = await refusal_of(lines)

    assert (found["reason"], found["remote"], found["path"]) == (reason, REMOTE, PATH)
    assert why in found["why"]


async def test_a_connection_of_the_console_is_logged_with_the_events_of_all_its_subscriptions(api: WebBench) -> None:
    collection = await api.collection()
    device_id = await api.device(collection)
    api.receive(device_id)  # connects it
    with capture_logs() as lines:
        async with console(api, additional_headers={"X-Forwarded-For": REMOTE}) as page:
            await page.ask(type="subscribe", id=1, identifiers=[application(collection)])
            await page.ask(type="subscribe", id=2, identifiers=[device(collection, device_id)])
            api.receive(device_id)
            await page.next()
            await page.next()
            await page.ask(type="unsubscribe", id=1)
            api.receive(device_id)
            await page.next()
        await until(lambda: bool(named(lines, "subscriber_left")))
    (joined,), (left,) = named(lines, "subscriber_joined"), named(lines, "subscriber_left")

    assert (joined["path"], joined["remote"]) == (PATH, REMOTE)
    assert (left["code"], left["by"], left["delivered"], left["dropped"]) == (1000, "client", 3, 0)
    assert left["token"] == joined["token"]


HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(200)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (HELLO, "speaks TLS (ClientHello), and this port gRPC without TLS; --insecure makes ttn-lw-cli do without"),
        (b"GET /api/v3/events HTTP/1.1\r\nHost: a\r\n\r\n", "speaks HTTP (GET /api/v3/events), and this port gRPC"),
        (b"\xff" * 40, "Invalid HTTP/2 preamble"),
    ],
)
async def test_the_log_says_what_a_client_speaks_that_is_not_grpc(api: WebBench, octets: bytes, why: str) -> None:
    """The client sees no more than the end of its connection."""
    await api.fleet.clock.advance(61.0)
    with capture_logs() as lines:
        async with listening(api) as listener:
            host, port = listener.address.split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(octets)
            found = await refusal_of(lines)
            writer.close()

    assert (found["reason"], found["remote"], found["path"]) == ("malformed", "127.0.0.1", "gRPC")
    assert why in found["why"]


async def test_later_octets_of_a_client_of_grpc_are_no_sign_of_what_it_speaks(api: WebBench) -> None:
    """It has begun with HTTP/2."""
    await api.fleet.clock.advance(61.0)
    with capture_logs() as lines:
        async with listening(api) as listener:
            host, port = listener.address.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
            await reader.readuntil(frame(4, 1, 0, b""))
            writer.write(b"GET /api/v3/events HTTP/1.1\r\nHost: a\r\n\r\n")
            found = await refusal_of(lines)
            writer.close()

    assert "speaks" not in found["why"]


async def test_a_stream_over_grpc_is_logged_with_the_reason_of_its_end(api: WebBench) -> None:
    collection = await api.collection()
    text = await api.token()
    token = await api.tokens.find(text)
    assert token is not None
    with capture_logs() as lines:
        async with listening(api) as listener, Client(listener.address, text) as client:
            revoked, cancelled = (client.stream(application(collection)) for _ in range(2))
            await revoked.next()
            await cancelled.next()
            await api.device(collection)
            await cancelled.next()
            cancelled.call.cancel()
            await until(lambda: bool(named(lines, "subscriber_left")))
            api.streams.revoke([token])
            await until(lambda: len(named(lines, "subscriber_left")) == 2)
    joined, left = named(lines, "subscriber_joined"), named(lines, "subscriber_left")

    assert [(each["path"], each["remote"]) for each in joined] == [("/ttn.lorawan.v3.Events/Stream", "127.0.0.1")] * 2
    assert [(each["by"], each["reason"], each["delivered"]) for each in left] == [
        ("client", "", 1),
        ("server", "the token was revoked", 1),
    ]
