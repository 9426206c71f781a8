"""The Console's WebSocket: its handshake, its messages, and its ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from span_events.web.things_stack.console import CARRIER, MOST_SUBSCRIPTIONS, PROTOCOL
from tests.bench.waiting import PATIENCE, until
from tests.dialects.things_stack.schemas import ERROR_DETAILS, EVENT, STATUS, check
from tests.web.conftest import WebBench, web_bench
from tests.web.things_stack.client import Raw, application, device, gateway

PATH = "/api/v3/console/internal/events/"


class Console:
    """A client that is told what to send."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **message: Any) -> None:
        """Send a message."""
        await self.connection.send(json.dumps(message))

    async def next(self) -> dict[str, Any]:
        """Wait for a message."""
        async with asyncio.timeout(PATIENCE):
            text = await self.connection.recv(decode=True)
        assert text.endswith("}\n")
        assert "\n" not in text[:-1]
        return dict(json.loads(text))

    async def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message and wait for the next one."""
        await self.send(**message)
        return await self.next()

    async def _read_on(self) -> None:
        while True:
            await self.next()

    async def closed(self) -> tuple[int, str]:
        """Wait for the end."""
        with pytest.raises(ConnectionClosed) as ended:
            await self._read_on()
        assert ended.value.rcvd is not None
        return ended.value.rcvd.code, ended.value.rcvd.reason


@asynccontextmanager
async def console(api: WebBench, token: str = "", **options: Any) -> AsyncIterator[Console]:
    """Connect as the original's page does."""
    offered = [Subprotocol(PROTOCOL), Subprotocol(f"{CARRIER}{token or api.admin}")]
    async with connect(api.url.replace("http", "ws") + PATH, subprotocols=offered, proxy=None, **options) as connection:
        yield Console(connection)


# ---- handshake -------------------------------------------------------------------------------


async def handshake(api: WebBench, *, path: str = PATH, **headers: str) -> Raw:
    """Begin a WebSocket."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Raw(api, b"", upgrade | named, method="GET", path=path, token=None, accept=None)


@pytest.mark.parametrize("carrier", [CARRIER, CARRIER.title(), CARRIER.upper()])
async def test_the_token_comes_as_a_subprotocol_and_only_the_other_is_returned(api: WebBench, carrier: str) -> None:
    async with await handshake(api, Sec_WebSocket_Protocol=f"{PROTOCOL}, {carrier}{api.admin}") as reply:
        pass

    assert reply.status == 101
    assert reply.head["sec-websocket-protocol"] == PROTOCOL
    assert "sec-websocket-extensions" not in reply.head


async def test_the_header_does_without_a_subprotocol(api: WebBench) -> None:
    """So do programs that are no browser; a malformed token among the subprotocols leaves the header alone."""
    async with await handshake(api, Authorization=f"Bearer {api.admin}") as reply:
        pass
    async with await handshake(
        api, Authorization=f"bearer {api.admin}", Sec_WebSocket_Protocol=f"{CARRIER}abc"
    ) as other:
        pass

    assert (reply.status, other.status) == (101, 101)
    assert "sec-websocket-protocol" not in reply.head
    assert "sec-websocket-protocol" not in other.head


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        ({}, None),
        ({"Sec_WebSocket_Protocol": PROTOCOL}, None),
        ({"Sec_WebSocket_Protocol": f"{PROTOCOL}, {CARRIER}{'0' * 64}"}, "api_key_not_found"),
        ({"Authorization": "Bearer abc"}, "token"),
    ],
)
async def test_a_client_without_a_good_token_is_refused_before_the_upgrade(
    api: WebBench, headers: dict[str, str], cause: str | None
) -> None:
    """The status is not wrapped, and indented by tabs."""
    async with await handshake(api, **headers) as reply:
        octets = await reply.rest()
    found = json.loads(octets)
    (details,) = found["details"]

    assert reply.status == 401
    assert octets.startswith(
        b'{\n\t"code": 16,\n\t"message": "error:pkg/auth/rights:unauthenticated (unauthenticated)",'
    )
    check(found, STATUS)
    check(details, ERROR_DETAILS)
    assert details.get("cause", {}).get("name") == cause


async def test_the_slash_at_the_end_is_necessary(api: WebBench) -> None:
    async with await handshake(api, path=PATH[:-1], Authorization=f"Bearer {api.admin}") as reply:
        assert (reply.status, await reply.rest()) == (404, b'{"code":5, "message":"Not Found"}')


async def test_the_number_of_connections_is_bounded(tmp_path: Path) -> None:
    """Those without a subscription too, which are no subscribers of the hub."""
    async with web_bench(tmp_path, things_stack={"console_connections": 1}) as small:
        async with console(small), await handshake(small, Authorization=f"Bearer {small.admin}") as refused:
            pass
        await until(lambda: not small.console._readers)
        async with await handshake(small, Authorization=f"Bearer {small.admin}") as accepted:
            pass

    assert (refused.status, accepted.status) == (503, 101)


# ---- messages --------------------------------------------------------------------------------


async def test_a_subscription_is_confirmed_and_gets_events(api: WebBench) -> None:
    """No start event here: the confirmation stands for it."""
    collection = await api.collection()
    device_id = await api.device(collection)
    async with console(api) as page:
        confirmed = await page.ask(type="subscribe", id=1, identifiers=[application(collection)])
        api.receive(device_id)
        first, second = await page.next(), await page.next()

    assert confirmed == {"type": "subscribe", "id": 1}
    for message in (first, second):
        assert list(message) == ["type", "id", "event"]
        assert (message["type"], message["id"]) == ("publish", 1)
        check(message["event"], EVENT)
    assert second["event"]["name"] == "as.up.data.forward"


async def test_several_subscriptions_share_a_connection(api: WebBench) -> None:
    """Each event comes with the id of each subscription that has it."""
    collection = await api.collection()
    one, two = await api.device(collection), await api.device(collection)
    big = 2**64 - 1
    async with console(api) as page:
        await page.ask(type="subscribe", id=0, identifiers=[device(collection, one)], names=["as.up.data.forward"])
        await page.ask(type="subscribe", id=big, identifiers=[application(collection)], names=["/^as\\.up\\./"])
        api.receive(two)
        api.receive(one)
        found = [await page.next() for _ in range(3)]
        others = api.hub.subscribers

    assert sorted(each["id"] for each in found) == [0, big, big]
    assert others == 2
    await until(lambda: api.hub.subscribers == 0)


async def test_the_past_follows_the_confirmation(api: WebBench) -> None:
    collection = await api.collection()
    device_id = await api.device(collection)
    for number in range(3):
        api.receive(device_id, bytes(number + 1))
    async with console(api) as page:
        confirmed = await page.ask(
            type="subscribe", id=7, identifiers=[application(collection)], tail=2, names=["as.up.data.forward"]
        )
        found = [await page.next() for _ in range(2)]

    assert confirmed == {"type": "subscribe", "id": 7}
    assert [each["event"]["data"]["value"]["bytes"] for each in found] == ["2", "3"]


async def test_nothing_comes_after_the_end_of_a_subscription(api: WebBench) -> None:
    collection = await api.collection()
    device_id = await api.device(collection)
    async with console(api) as page:
        await page.ask(type="subscribe", id=1, identifiers=[application(collection)])
        await page.ask(type="subscribe", id=2, identifiers=[application(collection)], names=["end_device.update"])
        ended = await page.ask(type="unsubscribe", id=1)
        api.receive(device_id)
        again = await page.ask(type="subscribe", id=1, identifiers=[device(collection, device_id)])

    assert (ended, again) == ({"type": "unsubscribe", "id": 1}, {"type": "subscribe", "id": 1})


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (
            {"type": "subscribe", "id": 1, "identifiers": [application("app1")]},
            6,
            "error:pkg/console/internal/events/subscriptions:already_subscribed (already subscribed with ID `1`)",
        ),
        (
            {"type": "unsubscribe", "id": 2},
            5,
            "error:pkg/console/internal/events/subscriptions:not_subscribed (not subscribed with ID `2`)",
        ),
        (
            {"type": "subscribe", "id": 2},
            3,
            "error:pkg/console/internal/events/subscriptions:no_identifiers (no identifiers)",
        ),
        (
            {"type": "subscribe", "id": 2, "identifiers": [application("app1")], "names": ["x"]},
            3,
            "error:pkg/events:unknown_event_name (unknown event `x`)",
        ),
        (
            {"type": "subscribe", "id": 2, "identifiers": [gateway("gtw9")]},
            5,
            "error:pkg/identityserver/store:gateway_not_found (gateway with id `gtw9` not found)",
        ),
    ],
)
async def test_a_refused_message_leaves_the_connection_open(
    api: WebBench, message: dict[str, Any], code: int, text: str
) -> None:
    collection = await api.collection()
    async with console(api) as page:
        await page.ask(type="subscribe", id=1, identifiers=[application(collection)])
        refused = await page.ask(**message)
        still = await page.ask(type="unsubscribe", id=1)

    assert (refused["type"], refused["id"]) == ("error", message["id"])
    check(refused["error"], STATUS)
    assert (refused["error"]["code"], refused["error"]["message"]) == (code, text)
    assert still == {"type": "unsubscribe", "id": 1}


async def test_rights_are_checked_for_each_subscription(api: WebBench) -> None:
    mine, foreign = await api.collection(), await api.collection()
    token = await api.token(f"/collections/{mine}")
    async with console(api, token) as page:
        refused = await page.ask(type="subscribe", id=1, identifiers=[application(foreign)])
        confirmed = await page.ask(type="subscribe", id=1, identifiers=[application(mine)])

    assert refused["error"]["code"] == 7
    assert confirmed["type"] == "subscribe"


async def test_the_number_of_subscriptions_is_bounded(api: WebBench) -> None:
    collection = await api.collection()
    async with console(api) as page:
        for number in range(MOST_SUBSCRIPTIONS):
            await page.ask(type="subscribe", id=number, identifiers=[application(collection)])
            await api.fleet.clock.advance(1.0)  # a client has 50 frames a second
        refused = await page.ask(type="subscribe", id=1000, identifiers=[application(collection)])

    assert refused["error"]["code"] == 14


# ---- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"type":"subscribe","id":"1"}',
        '{"type":"subscribe","id":-1}',
        '{"type":"subscribe","id":18446744073709551616}',
        '{"type":"publish","id":1}',
        '{"type":"Subscribe","id":1}',
        '{"type":"subscribe","id":1,"identifiers":1}',
        "{" * 5000,
    ],
)
async def test_a_message_that_is_none_ends_the_connection(api: WebBench, text: str) -> None:
    async with console(api) as page:
        await page.connection.send(text)

        assert await page.closed() == (1007, "failed to unmarshal JSON")


async def test_a_binary_message_is_taken_like_a_text(api: WebBench) -> None:
    """The original looks at the octets alone; without a reply, the client would wait."""
    async with console(api) as page:
        await page.connection.send(b'{"type":"unsubscribe","id":1}')

        assert (await page.next())["error"]["code"] == 5


async def test_a_message_over_32_kib_ends_the_connection(api: WebBench) -> None:
    async with console(api) as page:
        await page.connection.send(" " * 32_769)

        assert (await page.closed())[0] == 1009


async def test_a_defect_leaves_no_place_of_its_token_taken(api: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription to many entities has places of its own."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise RuntimeError

    collection = await api.collection()
    (places,) = [each for each in api.events.admission.metrics() if each.name == "streams_of_one"]
    async with console(api) as page:
        monkeypatch.setattr(api.hub, "subscribe", fail)
        await page.send(type="subscribe", id=1, identifiers=[application(collection)] * 100)
        code, _ = await page.closed()
    await until(lambda: places.value() == {"token": 0, "address": 0})

    assert code == 1011


async def test_a_deleted_token_ends_the_whole_connection(api: WebBench) -> None:
    """At once if there is a subscription, else with the next message."""
    collection = await api.collection()
    text = await api.token()
    token = await api.tokens.find(text)
    assert token is not None
    async with console(api, text) as busy, console(api, text) as idle:
        await busy.ask(type="subscribe", id=1, identifiers=[application(collection)])
        await api.tokens.delete(token.id)
        api.streams.revoke(await api.tokens.refresh())

        assert await busy.closed() == (1000, "main task closed")
        await idle.send(type="unsubscribe", id=1)
        assert await idle.closed() == (1000, "main task closed")


async def test_the_shutdown_ends_connections_with_and_without_subscriptions(api: WebBench) -> None:
    collection = await api.collection()
    async with console(api) as busy, console(api) as idle:
        await busy.ask(type="subscribe", id=1, identifiers=[application(collection)])
        api.hub.close()
        closing = asyncio.create_task(api.console.close())

        assert (await busy.closed())[0] == (await idle.closed())[0] == 1001
        await closing


async def test_a_client_that_asks_for_more_than_it_reads_is_closed(api: WebBench) -> None:
    """Replays of the past must not pile up for a client that never reads them."""
    collection = await api.collection()
    device_id = await api.device(collection)
    for number in range(60):
        api.receive(device_id, bytes([number]) * 5)
    async with console(api, max_queue=1) as page:
        page.connection.transport.pause_reading()
        for number in range(200):
            await page.send(type="subscribe", id=number, identifiers=[application(collection)], tail=100)
            await page.send(type="unsubscribe", id=number)
            await api.fleet.clock.advance(1.0)
        await until(lambda: not api.console._readers)
        page.connection.transport.abort()  # its full queue would hide the close frame for ten seconds


async def test_a_silent_client_is_pinged_and_then_dropped(api: WebBench) -> None:
    async with console(api) as page:
        await api.console.sweep(0.0)
        await until(lambda: all(reader.alive for reader in api.console._readers))  # the pong has come
        page.connection.transport.pause_reading()
        await api.console.sweep(30.0)
        await api.console.sweep(60.0)

        await until(lambda: not api.console._readers)
        page.connection.transport.resume_reading()
