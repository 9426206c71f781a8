"""``POST /api/v3/events``: negotiation, framing, headers, the first event, and how a stream ends."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from span_events import ids
from span_events.events.catalogue import GatewayConnected
from span_events.web.streams.replies import chunk
from tests.bench.waiting import until
from tests.dialects.things_stack.schemas import ERROR_DETAILS, EVENT, FRAME, STATUS, check
from tests.web.conftest import WebBench
from tests.web.things_stack.client import Raw, application, body_of, device, gateway

ULID = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}")


@pytest.fixture
async def scene(api: WebBench) -> tuple[str, str, str]:
    """A collection, a device and a gateway."""
    collection = await api.collection()
    return collection, await api.device(collection), await api.gateway(collection)


# ---- negotiation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "content_type", "delimiter"),
    [
        ("text/event-stream", "text/event-stream", b"}\n\n"),
        ("text/event-stream, */*", "application/json", b"}\n"),
        ("Text/Event-Stream", "application/json", b"}\n"),
        ("application/json", "application/json", b"}\n"),
        ("application/json\r\nAccept: text/event-stream", "text/event-stream", b"}\n\n"),  # two headers
        ("*/*", "application/json", b"}\n"),
        (None, "application/json", b"}\n"),
    ],
)
async def test_only_the_exact_accept_gets_the_event_stream(
    api: WebBench, scene: tuple[str, str, str], accept: str | None, content_type: str, delimiter: bytes
) -> None:
    async with Raw(api, body_of(application(scene[0])), accept=accept) as stream:
        first = await stream.chunk()

    assert (stream.status, stream.head["content-type"]) == (200, content_type)
    assert first.startswith(b'{"result":{"name":"events.stream.start","time":"')
    assert re.search(rb"\n*$", first)[0] == delimiter[1:]  # type: ignore[index]


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "application/json", ""]
)
async def test_the_content_type_of_the_request_does_not_matter(
    api: WebBench, scene: tuple[str, str, str], content_type: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    async with Raw(api, body_of(application(scene[0])), headers) as stream:
        assert (await stream.event())["name"] == "events.stream.start"


async def test_the_head_and_the_first_event_come_before_any_event(api: WebBench, scene: tuple[str, str, str]) -> None:
    """The headers are those of the original; nothing is cached, nothing framed by a page."""
    async with Raw(api, body_of(application(scene[0]))) as stream:
        start = await stream.event()
    head = stream.head

    assert head["transfer-encoding"] == "chunked"
    assert "content-length" not in head
    assert (head["cache-control"], head["pragma"]) == ("no-store", "no-cache")
    assert (head["vary"], head["x-content-type-options"]) == ("Accept-Encoding", "nosniff")
    assert head["x-frame-options"] == "SAMEORIGIN"
    assert head["x-accel-buffering"] == "no", "as guides/proxies.md says of all streams"
    assert {"referrer-policy", "x-xss-protection"} <= set(head)
    assert not {"x-warning", "access-control-allow-origin", "content-encoding"} & set(head)
    assert head["connection"] == "close", "as it ends with the stream"
    assert ULID.fullmatch(head["x-request-id"])
    assert start["correlation_ids"] == [f"rpc:/ttn.lorawan.v3.Events/Stream:{head['x-request-id']}"]


async def test_the_number_that_a_client_gives_its_request_is_kept(api: WebBench, scene: tuple[str, str, str]) -> None:
    """Unless it could not stand in a correlation id."""
    for given, kept in (("my-request.7", True), ("x" * 65, False), ("a b", False)):
        async with Raw(api, body_of(application(scene[0])), {"X-Request-Id": given}) as stream:
            start = await stream.event()

        assert (stream.head["x-request-id"] == given) is kept
        assert start["correlation_ids"] == [f"rpc:/ttn.lorawan.v3.Events/Stream:{stream.head['x-request-id']}"]


# ---- the first event -------------------------------------------------------------------------


async def test_the_first_event_echoes_the_identifiers(api: WebBench, scene: tuple[str, str, str]) -> None:
    """In snake case, whatever the request has; without data, as there is no filter."""
    collection, device_id, gateway_id = scene
    asked: list[dict[str, Any]] = [
        {"applicationIds": {"applicationId": collection}},
        {"deviceIds": {"deviceId": device_id, "applicationIds": {"applicationId": collection}, "devEui": "00" * 8}},
        {"gateway_ids": {"gateway_id": gateway_id, "unknown": 1}, "user_ids": None},
    ]
    async with Raw(api, body_of(*asked, unknown=True)) as stream:
        start = await stream.event()

    check(start, EVENT)
    assert start["identifiers"] == [
        {"application_ids": {"application_id": collection}},
        {
            "device_ids": {
                "device_id": device_id,
                "application_ids": {"application_id": collection},
                "dev_eui": "00" * 8,
            }
        },
        {"gateway_ids": {"gateway_id": gateway_id}},
    ]
    assert list(start) == ["name", "time", "identifiers", "correlation_ids", "origin", "unique_id"]


async def test_the_first_event_shows_the_resolved_names(api: WebBench, scene: tuple[str, str, str]) -> None:
    names = ["/^gs\\.up\\.(re|d)/", "end_device.create"]
    async with Raw(api, body_of(application(scene[0]), names=names)) as stream:
        start = await stream.event()

    assert start["data"] == {
        "@type": "type.googleapis.com/google.protobuf.Value",
        "value": ["end_device.create", "gs.up.drop", "gs.up.receive"],
    }


# ---- events ----------------------------------------------------------------------------------


async def test_each_event_is_one_frame_of_the_published_schema(api: WebBench, scene: tuple[str, str, str]) -> None:
    """Compact, one chunk, two newlines; no comment and no blank line besides."""
    collection, device_id, _ = scene
    async with Raw(api, body_of(application(collection))) as stream:
        await stream.event()
        api.receive(device_id)
        frames = [await stream.chunk() for _ in range(2)]

    for frame in frames:
        assert frame.startswith(b'{"result":{"name":"')
        assert frame.endswith(b"}}\n\n")
        assert b"\n" not in frame[:-2]
        check(json.loads(frame), FRAME)
    assert [json.loads(each)["result"]["name"] for each in frames] == ["as.end_device.connect", "as.up.data.forward"]


async def test_an_event_of_two_named_entities_comes_once(api: WebBench, scene: tuple[str, str, str]) -> None:
    collection, device_id, gateway_id = scene
    identifiers = (application(collection), device(collection, device_id), gateway(gateway_id), application(collection))
    async with Raw(api, body_of(*identifiers)) as stream:
        await stream.event()
        api.receive(device_id, b"1")
        api.receive(device_id, b"2")
        found = [await stream.event() for _ in range(3)]

    assert [each["name"] for each in found] == ["as.end_device.connect", "as.up.data.forward", "as.up.data.forward"]
    assert len({each["unique_id"] for each in found}) == 3


async def test_a_device_shows_its_events_only(api: WebBench, scene: tuple[str, str, str]) -> None:
    collection, device_id, _ = scene
    other = await api.device(collection)
    async with Raw(api, body_of(device(collection, device_id))) as stream:
        await stream.event()
        api.receive(other)
        api.receive(device_id)
        found = await stream.event()

    assert found["identifiers"] == [device(collection, device_id)]


async def test_a_gateway_shows_its_own_events_an_application_does_not(
    api: WebBench, scene: tuple[str, str, str]
) -> None:
    """As in the original: events of a gateway alone name no application."""
    collection, device_id, gateway_id = scene
    origin = api.fleet.directory.gateways[ids.parse(gateway_id)].origin
    async with Raw(api, body_of(application(collection))) as one, Raw(api, body_of(gateway(gateway_id))) as two:
        await one.event()
        await two.event()
        api.fleet.bus.publish(GatewayConnected(origin=origin, remote_address="10.0.0.1:1", certificate_serial="1"))
        api.receive(device_id)

        assert (await one.event())["name"] == "as.end_device.connect"
        assert (await two.event())["name"] == "gs.gateway.connect"


async def test_names_filter_the_events(api: WebBench, scene: tuple[str, str, str]) -> None:
    collection, device_id, _ = scene
    async with Raw(api, body_of(application(collection), names=["/^as\\.up\\./"])) as stream:
        await stream.event()
        api.receive(device_id)

        assert (await stream.event())["name"] == "as.up.data.forward"


async def test_a_device_that_does_not_exist_yet_can_be_followed(api: WebBench, scene: tuple[str, str, str]) -> None:
    """The original answers 200 for an unknown device of a readable application."""
    for name in ("17kl14hm46h4c2", "my-tracker"):
        async with Raw(api, body_of(device(scene[0], name))) as stream:
            assert (await stream.event())["name"] == "events.stream.start"


async def test_http_1_0_gets_the_frames_without_chunks(api: WebBench, scene: tuple[str, str, str]) -> None:
    collection, device_id, _ = scene
    async with Raw(api, body_of(application(collection)), version="1.0") as stream:
        api.receive(device_id)
        await until(lambda: api.hub.delivered == 2)
        api.hub.close()
        frames = (await stream.rest()).split(b"\n\n")

    assert "transfer-encoding" not in stream.head
    assert [next(iter(json.loads(each))) for each in frames[:-1]] == ["result"] * 3 + ["error"]
    assert frames[-1] == b""


# ---- the past --------------------------------------------------------------------------------


async def test_the_tail_follows_the_first_event_in_the_same_frames(api: WebBench, scene: tuple[str, str, str]) -> None:
    """Filter first, then count: a filtered tail is as long as it can be."""
    collection, device_id, _ = scene
    for number in range(4):
        api.receive(device_id, bytes([number]))
    body = body_of(application(collection), tail=3, names=["as.up.data.forward"])
    async with Raw(api, body) as stream:
        frames = [await stream.chunk() for _ in range(4)]
        api.receive(device_id)
        frames.append(await stream.chunk())

    assert all(frame.startswith(b'{"result":{') and frame.endswith(b"}}\n\n") for frame in frames)
    assert [json.loads(frame)["result"]["name"] for frame in frames] == ["events.stream.start"] + [
        "as.up.data.forward"
    ] * 4


async def test_the_tail_is_counted_for_each_entity_and_merged_by_time(
    api: WebBench, scene: tuple[str, str, str]
) -> None:
    collection, one, _ = scene
    two = await api.device(collection)
    for number, each in enumerate((one, two, one, one, two)):
        api.receive(each, bytes(number + 1))
    body = body_of(device(collection, one), device(collection, two), tail=2, names=["as.up.data.forward"])
    async with Raw(api, body) as stream:
        await stream.event()
        found = [await stream.event() for _ in range(4)]

    assert [each["data"]["value"]["bytes"] for each in found] == ["2", "3", "4", "5"]
    assert sorted(each["time"] for each in found) == [each["time"] for each in found]


async def test_after_gives_what_is_later_by_the_millisecond(api: WebBench, scene: tuple[str, str, str]) -> None:
    collection, device_id, _ = scene
    names = ["as.up.data.forward"]
    times = []
    for number in range(3):
        await api.fleet.clock.advance(1.5)
        api.receive(device_id, bytes(number + 1))
        times.append(await _time_of_last(api, collection, names))
    async with Raw(api, body_of(application(collection), after=times[0], names=names)) as stream:
        await stream.event()
        found = [await stream.event() for _ in range(2)]

    assert [each["data"]["value"]["bytes"] for each in found] == ["2", "3"]


async def _time_of_last(api: WebBench, collection: str, names: list[str]) -> str:
    async with Raw(api, body_of(application(collection), tail=1, names=names)) as stream:
        await stream.event()
        return str((await stream.event())["time"])


async def test_after_and_tail_together_give_the_smaller_part(api: WebBench, scene: tuple[str, str, str]) -> None:
    collection, device_id, _ = scene
    for number in range(4):
        api.receive(device_id, bytes(number + 1))
    body = body_of(application(collection), after="2000-01-01T00:00:00Z", tail=2, names=["as.up.data.forward"])
    async with Raw(api, body) as stream:
        await stream.event()
        found = [await stream.event() for _ in range(2)]
        api.receive(device_id, bytes(9))
        found.append(await stream.event())

    assert [each["data"]["value"]["bytes"] for each in found] == ["3", "4", "9"]


async def test_the_unique_ids_of_the_past_are_those_of_the_present(api: WebBench, scene: tuple[str, str, str]) -> None:
    """So that a client can drop what it has after a reconnect."""
    collection, device_id, _ = scene
    body = body_of(application(collection), tail=2, names=["/^as\\./"])
    async with Raw(api, body) as stream:
        await stream.event()
        api.receive(device_id)
        live = [await stream.event() for _ in range(2)]
    async with Raw(api, body) as stream:
        await stream.event()
        past = [await stream.event() for _ in range(2)]

    assert live == past


async def test_a_tail_over_the_limit_is_cut_with_a_warning(api: WebBench, scene: tuple[str, str, str]) -> None:
    async with Raw(api, body_of(application(scene[0]), tail=1_000_000)) as stream:
        assert stream.head["x-warning"] == "The tail is limited to 1000 events"


# ---- how a stream ends -----------------------------------------------------------------------


async def test_a_stream_of_a_deleted_token_ends_with_an_error(api: WebBench, scene: tuple[str, str, str]) -> None:
    text = await api.token()
    async with Raw(api, body_of(application(scene[0])), token=text) as stream:
        await stream.event()
        token = await api.tokens.find(text)
        assert token is not None
        api.streams.revoke([token])
        last, end = await stream.chunk(), await stream.chunk()
    error = json.loads(last)["error"]

    assert last.endswith(b"}\n\n")
    assert end == b""
    check(error, STATUS)
    assert (error["code"], error["message"]) == (
        16,
        "error:pkg/identityserver:api_key_not_found (API key not found)",
    )
    assert error["details"][0]["attributes"] == {"reason": "the token was revoked"}, "or has expired"


async def test_the_shutdown_ends_a_stream_as_the_original_does(api: WebBench, scene: tuple[str, str, str]) -> None:
    async with Raw(api, body_of(application(scene[0]))) as stream:
        await stream.event()
        api.hub.close()
        last, end = await stream.chunk(), await stream.chunk()
    error = json.loads(last)["error"]

    assert (error["code"], error["message"]) == (1, "error:unknown:unknown (grpc: the client connection is closing)")
    check(error["details"][0], ERROR_DETAILS)
    assert end == b""


async def test_after_the_shutdown_begins_a_stream_is_refused(api: WebBench, scene: tuple[str, str, str]) -> None:
    api.hub.close()
    async with Raw(api, body_of(application(scene[0]))) as stream:
        error = json.loads(await stream.rest())["error"]

    assert (stream.status, error["code"]) == (503, 14)


async def test_a_client_that_leaves_is_forgotten(api: WebBench, scene: tuple[str, str, str]) -> None:
    async with Raw(api, body_of(application(scene[0]))) as stream:
        await stream.event()
        assert api.hub.subscribers == 1

    await until(lambda: api.hub.subscribers == 0)


async def test_octets_after_the_request_are_dropped(api: WebBench, scene: tuple[str, str, str]) -> None:
    """A client may not make the server store requests that it will never read."""
    collection, device_id, _ = scene
    async with Raw(api, body_of(application(collection))) as stream:
        await stream.event()
        stream.send(b"GET /span/collections HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        await asyncio.sleep(0)
        api.receive(device_id)

        assert (await stream.event())["name"] == "as.end_device.connect"


def test_a_chunk_has_its_size_in_hexadecimal() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
