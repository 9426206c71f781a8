"""WebSocket streams: scopes, refusals before the upgrade, and closes."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from span_events.events.filters import EVERYTHING, PASS_ALL
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import parse, render, to_ulid
from tests.bench.servers import CAUSE, Running, activity, events, names, running
from tests.bench.waiting import until


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with a short history and few places."""
    settings = {"events": {"history_per_collection": 5}, "fanout": {"subscribers": 20}, "streams": {"max_tail": 50}}
    async with running(tmp_path, **settings) as opened:
        yield opened


async def refusal(site: Running, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """Try to open a stream that is refused; return status and problem body."""
    with pytest.raises(InvalidStatus) as caught:
        async with site.stream(path, **options):
            pass
    response = caught.value.response
    assert response.headers["Content-Type"].startswith("application/problem+json")
    assert response.body is not None
    return response.status_code, json.loads(response.body)


@pytest.mark.parametrize("prefix", ["/span", ""])
async def test_a_collection_is_streamed_one_object_a_frame(site: Running, prefix: str) -> None:
    """Each frame is one JSON object and a newline; both URL forms work."""
    collection = await site.collection()
    path = activity(collection).removeprefix("/span")
    async with site.stream(prefix + path) as stream:
        await site.joined(1)
        device = await site.device(collection)
        site.receive(device)
        received = await events(stream, 3)

    assert [each["event"] for each in received] == ["deviceCreated", "clientConnected", "upstreamMessage"]
    assert {each["deviceId"] for each in received} == {render(device.id)}
    assert received[0] == {
        "collectionId": render(collection.id),
        "deviceId": render(device.id),
        "event": "deviceCreated",
        "time": "2024-04-25 20:23:36",
    }


async def test_a_device_stream_shows_one_device(site: Running) -> None:
    """Events of the collection's other devices are not shown."""
    collection = await site.collection()
    mine, other = await site.device(collection), await site.device(collection)
    async with site.stream(activity(collection, f"/devices/{render(mine.id)}/activity")) as stream:
        await site.joined(1)
        site.receive(other)
        site.receive(mine)

        assert {each["deviceId"] for each in await events(stream, 2)} == {render(mine.id)}


async def test_all_that_a_token_reaches_is_one_stream(site: Running) -> None:
    """The admin sees every collection and unattributed events; a narrower token sees its part."""
    first, second = await site.collection(), await site.collection()
    _, narrow = await site.server.tokens.create(resource=f"/collections/{render(first.id)}", write=False)
    async with site.stream("/span/activity") as everything, site.stream("/activity", token=narrow) as part:
        await site.joined(2)
        site.server.fleet.reception.identify(("10.6.6.6", 1), transport="udp", size=3)  # type: ignore[arg-type]  # any word
        await site.device(second)
        await site.device(first)
        seen = await events(everything, 3)

        assert [each.get("collectionId") for each in seen] == [None, render(second.id), render(first.id)]
        assert [each["collectionId"] for each in await events(part, 1)] == [render(first.id)]


async def test_a_gateway_stream_shows_one_gateway(site: Running) -> None:
    """Messages of its devices included; other events of the collection are not shown."""
    collection = await site.collection()
    device = await site.device(collection)
    mine, other = [await site.server.fleet.gateways.create(collection, GatewayChange()) for _ in range(2)]
    rest = f"/gateways/{render(mine.id)}/activity"
    async with (
        site.stream(activity(collection, rest)) as stream,
        site.stream(activity(collection) + f"?gateway={render(mine.id)}") as filtered,
    ):
        await site.joined(2)
        for each in (other, mine):
            site.server.fleet.reception.received_through(
                each, device, b"hello", remote=("10.0.0.9", 4000), session_id=1, metadata={}
            )

        for either in (stream, filtered):
            assert [(each["event"], each["deviceId"], each["gatewayId"]) for each in await events(either, 2)] == [
                ("gatewayUpstreamMessage", render(device.id), render(mine.id)),
                ("upstreamMessage", render(device.id), render(mine.id)),
            ]


async def test_a_message_through_a_gateway_shows_its_metadata(site: Running) -> None:
    """On /from, too."""
    collection = await site.collection()
    device = await site.device(collection)
    gateway = await site.server.fleet.gateways.create(collection, GatewayChange())
    async with site.stream(activity(collection, "/from")) as stream:
        await site.joined(1)
        site.server.fleet.reception.received_through(
            gateway, device, b"hello", remote=("10.0.0.9", 4000), session_id=1, metadata={"rssi": "-90"}
        )
        (message,) = await events(stream, 1)

    assert (message["transport"], message["gatewayId"]) == ("gateway", render(gateway.id))
    assert message["gatewayMetaData"] == {"metadata": {"rssi": "-90"}}
    assert message["device"]["metadata"]["gateway"]["params"] == {"rssi": "-90"}


async def test_a_stream_of_no_gateway_is_refused(site: Running) -> None:
    """404, as for devices; also for a gateway of another collection."""
    collection = await site.collection()
    elsewhere = await site.server.fleet.gateways.create(await site.collection(), GatewayChange())
    for gateway in ("17", render(elsewhere.id)):
        with pytest.raises(InvalidStatus) as refused:
            await site.stream(activity(collection, f"/gateways/{gateway}/activity"))

        assert refused.value.response.status_code == 404


@pytest.mark.parametrize("rest", ["/from", "/devices/{device}/from"])
async def test_upstream_messages_are_streamed_as_output_data_messages(site: Running, rest: str) -> None:
    """Span's shape: type, device, payload, received, transport, meta data, message id."""
    collection = await site.collection()
    device = await site.device(collection)
    async with site.stream(activity(collection, rest.format(device=render(device.id)))) as stream:
        await site.joined(1)
        message_id = site.receive(device, b"\x00hello")
        (message,) = await events(stream, 1)

    assert message_id is not None
    assert (message["type"], message["transport"], message["messageId"]) == ("data", "udp", render(message_id))
    assert b64decode(message["payload"]) == b"\x00hello"
    assert message["received"] == "1714076616000"
    assert message["udpMetaData"] == {"localPort": 1234, "remotePort": 4000}
    assert message["device"]["deviceId"] == render(device.id)


async def test_a_silent_message_stream_gets_keepalives(site: Running) -> None:
    """{"type":"keepalive"} after 30 s of silence; plain activity streams get none."""
    collection = await site.collection()
    async with site.stream(activity(collection, "/from")) as messages, site.stream(activity(collection)) as plain:
        await site.joined(2)
        await site.clock.advance(31)
        keepalive = await events(messages, 1)
        await site.device(collection)

        assert keepalive == [{"type": "keepalive"}]
        assert await names(plain, 1) == ["deviceCreated"]


async def test_an_extended_stream_explains_and_marks_the_present(site: Running) -> None:
    """id, correlationIds, severity and hint; {"type":"live"} where history ends; keepalives after 15 s."""
    collection = await site.collection()
    await site.device(collection)
    async with site.stream(activity(collection) + "?extended=1&tail=9") as stream:
        created, live = await events(stream, 2)
        await site.clock.advance(16)

        assert created["severity"] == "info"
        assert created["hint"].endswith(".")
        assert created["correlationIds"] == [f"cause:{render(CAUSE)}"]
        assert live == {"type": "live"}
        assert await events(stream, 1) == [{"type": "keepalive"}]


async def test_the_span_profile_is_spans_events_and_keys_only(site: Running) -> None:
    """No extension event, no key of ours."""
    collection = await site.collection()
    device = await site.device(collection)
    async with site.stream(activity(collection) + "?profile=span") as stream:
        await site.joined(1)
        await site.server.fleet.outbox.queue(device, b"x", cause=CAUSE)
        site.receive(device)
        received = await events(stream, 2)

    assert [(each["event"], each["data"]) for each in received] == [
        ("clientConnected", {"id": "ip"}),
        ("upstreamMessage", {"bytes": "5", "transport": "udp"}),
    ]


async def test_the_profile_can_be_the_default_of_the_server(tmp_path: Path) -> None:
    """events.profile = "span"; a stream may still ask for more."""
    async with running(tmp_path, events={"profile": "span"}) as site:
        collection = await site.collection()
        device = await site.device(collection)
        path = activity(collection)
        async with site.stream(path) as strict, site.stream(path + "?profile=extended") as more:
            await site.joined(2)
            await site.server.fleet.outbox.queue(device, b"x", cause=CAUSE)
            await site.device(collection)

            assert await names(strict, 1) == ["deviceCreated"]
            assert await names(more, 2) == ["downstreamQueued", "deviceCreated"]


async def test_events_and_devices_are_chosen_by_the_query(site: Running) -> None:
    """Names, patterns and devices; repeated values are joined by or."""
    collection = await site.collection()
    mine, other = await site.device(collection), await site.device(collection)
    query = f"?event=/^client/&event=deviceRemoved&device={render(mine.id)}"
    async with site.stream(activity(collection) + query) as stream:
        await site.joined(1)
        site.receive(other)
        site.receive(mine)
        await site.server.fleet.devices.remove(mine, cause=CAUSE)

        assert await names(stream, 3) == ["clientConnected", "clientDisconnected", "deviceRemoved"]


async def test_the_tail_comes_first_and_nothing_is_doubled_or_missed(site: Running) -> None:
    """Also when events are published in the same moment as the stream opens."""
    collection = await site.collection()
    devices = [await site.device(collection) for _ in range(4)]
    async with site.stream(activity(collection) + "?tail=2") as stream:
        await site.joined(1)
        devices.append(await site.device(collection))
        received = await events(stream, 3)

    assert [each["deviceId"] for each in received] == [render(each.id) for each in devices[2:]]


async def test_a_client_resumes_after_an_id_or_a_time(site: Running) -> None:
    """after= takes a Span id, a ULID, or RFC 3339."""
    collection = await site.collection()
    await site.device(collection)
    async with site.stream(activity(collection) + "?extended=1&tail=1") as stream:
        (first, _) = await events(stream, 2)
    site.clock.shift(10)
    second = await site.device(collection)
    for after in (first["id"], to_ulid(parse(first["id"])), "2024-04-25T20:23:41Z", "2024-04-25T22:23:41%2B02:00"):
        async with site.stream(activity(collection) + f"?after={after}") as stream:
            (received,) = await events(stream, 1)

        assert received["deviceId"] == render(second.id), after


async def test_a_reconnect_beyond_the_history_gets_events_dropped(site: Running) -> None:
    """One eventsDropped (historyGap) precedes the events that are still in memory."""
    collection = await site.collection()
    for _ in range(8):
        await site.device(collection)
    sent = [render(each.id) for each in site.server.history.tail(EVERYTHING, PASS_ALL, 5).activities]
    async with site.stream(activity(collection) + "?after=1") as stream:
        received = await events(stream, 6)

    assert received[0]["event"] == "eventsDropped"
    assert received[0]["data"]["reason"] == "historyGap"
    assert "1" < received[0]["data"]["lastId"] < sent[-5]
    assert {each["event"] for each in received[1:]} == {"deviceCreated"}


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("event=clientConected", "event", "there is no event 'clientConected'"),
        ("event=/(/", "event", "is no regular expression"),
        ("device=x", "device", "'x' is not a device id"),
        ("gateway=x", "gateway", "'x' is not a gateway id"),
        ("severity=bad", "severity", "'bad' is not one of"),
        ("profile=foo", "profile", "'foo' is not one of span extended"),
        ("extended=maybe", "extended", "'maybe' is not true or false"),
        ("format=xml", "format", "'xml' is not one of span"),
        ("tail=-1", "tail", "'-1' is not a whole number from 0 to 50"),
        ("tail=51", "tail", "'51' is not a whole number from 0 to 50"),
        ("tail=99999999999999999999", "tail", "is not a whole number"),
        ("after=yesterday", "after", "'yesterday' is neither an event's id nor an RFC 3339 time"),
        ("after=2024-99-99", "after", "is neither an event's id nor an RFC 3339 time"),
        ("tail=1&after=1", "after", "tail and after cannot be combined"),
        ("evnt=x", "evnt", "There is no query parameter 'evnt' here"),
    ],
)
async def test_a_bad_parameter_is_refused_by_name(site: Running, query: str, field: str, message: str) -> None:
    """400 with a problem body, before the upgrade."""
    collection = await site.collection()
    status, problem = await refusal(site, activity(collection) + "?" + query)

    assert status == 400
    assert message in problem["detail"]
    assert problem["field"] == field


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/span/collections/17/activity", 404, "There is no collection 17"),
        ("/span/collections/XY/activity", 400, "'XY' is not a collection id"),
        ("/span/collections/{collection}/devices/17/activity", 404, "There is no device 17"),
        ("/span/collections/{collection}/devices/17/from", 404, "There is no device 17"),
        ("/span/collections/{collection}/from?event=x", 400, "There is no query parameter 'event'"),
    ],
)
async def test_streams_of_missing_resources_are_refused(site: Running, path: str, status: int, message: str) -> None:
    """With the missing part by name."""
    collection = await site.collection()
    found, problem = await refusal(site, path.format(collection=render(collection.id)))

    assert (found, message in problem["detail"]) == (status, True), problem


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://{http}", True),
        ("http://localhost:3000", True),
        ("http://127.0.0.1:9", True),
        ("null", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example:1", False),
    ],
)
async def test_pages_of_foreign_origins_are_refused(site: Running, origin: str, allowed: bool) -> None:
    """Pages of this server, of this machine, and files are allowed; http.allowed_origins allows further ones."""
    collection = await site.collection()
    headers = {"Origin": origin.format(http=site.http)}
    if allowed:
        async with site.stream(activity(collection), headers=headers):
            await site.joined(1)
    else:
        status, problem = await refusal(site, activity(collection), headers=headers)
        assert (status, "http.allowed_origins" in problem["hint"]) == (403, True)


async def test_a_disconnected_client_does_not_stop_the_pings_of_other_clients(
    site: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment the connection is closed and its stream does not know; uvloop refuses writes then."""

    class Gone:
        def is_closing(self) -> bool:
            return True

        def get_write_buffer_size(self) -> int:
            return 0

        def write(self, data: bytes) -> None:
            raise RuntimeError("the handler is closed")

    collection = await site.collection()
    async with site.stream(activity(collection)), site.stream(activity(collection)):
        await site.joined(2)
        gone, alive = site.server.streams._connections
        monkeypatch.setattr(gone, "transport", Gone())
        site.server.streams._connections = [gone, alive]  # type: ignore[assignment]  # in this order
        site.server.streams._next_ping = 0.0
        alive.reader.alive = True
        await site.server.streams.sweep(1.0)
        pinged = not alive.reader.alive
        site.server.streams._connections = {gone, alive}
        monkeypatch.undo()

    assert pinged


async def test_an_allowed_origin_matches_literally_except_asterisks(tmp_path: Path) -> None:
    """Only * is special: brackets are those of an IPv6 address, a dot is a dot."""
    origins = ["http://[fd00::1]:3000", "https://*.example.com"]
    async with running(tmp_path, http={"allowed_origins": origins}) as site:
        collection = await site.collection()
        for origin in ("http://[fd00::1]:3000", "https://a.example.com"):
            async with site.stream(activity(collection), headers={"Origin": origin}):
                pass
        for origin in ("http://f:3000", "https://a.example-com", "https://example.com"):
            status, _ = await refusal(site, activity(collection), headers={"Origin": origin})

            assert status == 403


async def test_one_stream_too_many_is_refused(site: Running) -> None:
    """503 names the setting; a place that becomes free can be taken."""
    collection = await site.collection()
    streams = [await site.stream(activity(collection)) for _ in range(20)]
    await site.joined(20)
    status, problem = await refusal(site, activity(collection))
    for each in streams:
        await each.close()
    await site.joined(0)

    assert (status, "fanout.subscribers" in problem["detail"]) == (503, True)
    async with site.stream(activity(collection)):
        await site.joined(1)


async def test_a_revoked_token_ends_its_streams(site: Running) -> None:
    """1008, soon after the deletion; the streams of other tokens go on."""
    collection = await site.collection()
    token, text = await site.server.tokens.create(resource="/", write=False)
    async with site.stream(activity(collection), token=text) as doomed, site.stream(activity(collection)) as other:
        await site.joined(2)
        await site.server.tokens.delete(token.id)
        await site.clock.advance(1)
        with pytest.raises(ConnectionClosed):
            await doomed.recv()
        await site.device(collection)

        assert (doomed.close_code, doomed.close_reason) == (1008, "the token was revoked")
        assert await names(other, 1) == ["deviceCreated"]


async def test_shutdown_closes_streams_with_1001(tmp_path: Path) -> None:
    """1001 to every stream, after all published events."""
    async with running(tmp_path) as site:
        collection = await site.collection()
        stream = await site.stream(activity(collection))
        await site.joined(1)
        await site.device(collection)

    assert await names(stream, 1) == ["deviceCreated"]
    with pytest.raises(ConnectionClosed):
        await stream.recv()
    assert stream.close_code == 1001


async def test_a_client_that_answers_pings_stays(site: Running) -> None:
    """A ping every 30 s; the library answers by itself."""
    collection = await site.collection()
    async with site.stream(activity(collection), ping_interval=None) as stream:
        await site.joined(1)
        for _ in range(5):
            await site.clock.advance(31)
            connection = next(iter(site.server.streams._connections))
            await until(lambda connection=connection: connection.reader.alive)  # type: ignore[misc]
        await site.device(collection)

        assert await names(stream, 1) == ["deviceCreated"]


async def test_a_client_that_answers_no_ping_is_disconnected(site: Running) -> None:
    """A client that vanished without a close frame frees its place after two intervals."""
    collection = await site.collection()
    reader, writer = await _open_by_hand(site, activity(collection))
    await site.joined(1)
    await site.clock.advance(31)
    ping = await reader.readexactly(2)
    await site.clock.advance(31)
    await site.joined(0)
    writer.close()

    assert ping == b"\x89\x00"


async def _open_by_hand(site: Running, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = site.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {site.http}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"X-API-Token: {site.token}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_client_frames_are_ignored_within_bounds(site: Running) -> None:
    """Text does no harm, pings are answered, a huge message ends the stream (1009)."""
    collection = await site.collection()
    async with site.stream(activity(collection)) as stream:
        await site.joined(1)
        await stream.send("hello")
        await (await stream.ping())
        await site.device(collection)
        seen = await names(stream, 1)
        await stream.send("x" * 100_000)
        await _closed(stream)

        assert (seen, stream.close_code) == (["deviceCreated"], 1009)


async def _closed(stream: ClientConnection) -> None:
    with pytest.raises(ConnectionClosed):
        await stream.recv()


async def test_a_client_that_disconnects_frees_its_place(site: Running) -> None:
    """In an orderly way and without a word."""
    collection = await site.collection()
    async with site.stream(activity(collection)):
        await site.joined(1)
    await site.joined(0)
    _, writer = await _open_by_hand(site, activity(collection))
    await site.joined(1)
    writer.transport.abort()
    await site.joined(0)

    assert site.server.hub.buffered == 0


async def test_a_moved_device_leaves_the_streams_of_its_old_collection(site: Running) -> None:
    """Both collections see the move, and only the new one sees later events."""
    old, new = await site.collection(), await site.collection()
    device = await site.device(old)
    path = activity(old, f"/devices/{render(device.id)}/activity")
    async with site.stream(path) as before, site.stream(activity(new)) as after:
        await site.joined(2)
        await site.server.fleet.devices.update(device, DeviceChange(collection_id=new.id), cause=CAUSE)
        site.receive(device)
        await site.server.fleet.devices.update(device, DeviceChange(collection_id=old.id), cause=CAUSE)

        assert await names(before, 2) == ["deviceMoved", "deviceMoved"]
        assert await names(after, 4) == ["deviceMoved", "clientConnected", "upstreamMessage", "deviceMoved"]
