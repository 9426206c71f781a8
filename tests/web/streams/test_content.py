"""Contents of streams: scopes, messages, profiles, history."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest

from span_events.events.filters import EVERYTHING, PASS_ALL
from span_events.events.message import Transport
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import parse, render, to_ulid
from tests.bench.servers import CAUSE, Running, activity, events, names, running


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
        site.server.fleet.reception.identify(("10.6.6.6", 1), transport=Transport.UDP, size=3)
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
    """after= takes a Span id, a ULID, RFC 3339, or the milliseconds that Span's messages have."""
    collection = await site.collection()
    await site.device(collection)
    async with site.stream(activity(collection) + "?extended=1&tail=1") as stream:
        (first, _) = await events(stream, 2)
    site.clock.shift(10)
    second = await site.device(collection)
    times = ("2024-04-25T20:23:41Z", "2024-04-25t20:23:41z", "2024-04-25T22:23:41%2B02:00", "1714076621000")
    for after in (first["id"], to_ulid(parse(first["id"])), *times):
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
