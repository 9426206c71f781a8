"""``GET /api/v3/events/related``: the events of one correlation id, for a caller who may see one of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from span_events import ids
from span_events.events.activity import Origin
from span_events.events.catalogue import DeviceUpdated, UpstreamMessage
from span_events.events.message import Transport
from tests.dialects.things_stack.schemas import RELATED, STATUS, check
from tests.web.conftest import WebBench
from tests.web.things_stack.client import Raw, application, body_of

PATH = "/api/v3/events/related"


async def related(api: WebBench, correlation_id: str, token: str | None = "") -> list[dict[str, Any]]:
    """Ask for the events of a correlation id."""
    path = f"{PATH}?correlation_id={correlation_id}"
    async with Raw(api, method="GET", path=path, token=token, accept="application/json") as reply:
        found = json.loads(await reply.rest())
    assert (reply.status, reply.head["content-type"]) == (200, "application/json")
    check(found, RELATED)
    return list(found.get("events", []))


async def test_the_events_of_one_message_are_related(api: WebBench) -> None:
    """Oldest first, as the stream showed them; each of the ids of a message finds it."""
    collection = await api.collection()
    device_id = await api.device(collection)
    async with Raw(api, body_of(application(collection))) as stream:
        await stream.event()
        message = ids.to_ulid(ids.parse(api.receive(device_id)))
        api.receive(device_id)
        shown = [await stream.event() for _ in range(2)]

    assert await related(api, f"cause:{message}") == shown
    assert await related(api, f"as:up:{message}") == shown[1:]


async def test_a_session_relates_only_if_it_is_asked_for(api: WebBench) -> None:
    collection = await api.collection()
    device_id = await api.device(collection)
    first = ids.to_ulid(ids.parse(api.receive(device_id)))
    api.receive(device_id)
    connected, *_ = await related(api, f"cause:{first}")
    session = next(each for each in connected["correlation_ids"] if each.startswith("as:conn:"))

    assert len(await related(api, session)) == 3


@pytest.mark.parametrize("text", ["cause:01HF7YATZ60000000000000003", "gs:conn:x", "x", "cause:", "%00"])
async def test_an_unknown_id_has_no_events(api: WebBench, text: str) -> None:
    async with Raw(api, method="GET", path=f"{PATH}?correlation_id={text}", accept=None) as reply:
        assert await reply.rest() == b"{}"


async def test_the_parameter_may_be_in_camel_case(api: WebBench) -> None:
    """As in all of the original's input."""
    device_id = await api.device(await api.collection())
    message = ids.to_ulid(ids.parse(api.receive(device_id)))
    async with Raw(api, method="GET", path=f"{PATH}?correlationId=as:up:{message}", accept=None) as reply:
        found = json.loads(await reply.rest())

    assert [each["name"] for each in found["events"]] == ["as.up.data.forward"]


@pytest.mark.parametrize("other", ["correlation_id=b", "correlationId=b"])
async def test_a_request_with_two_ids_is_refused(api: WebBench, other: str) -> None:
    """In the words of the original's gateway."""
    async with Raw(api, method="GET", path=f"{PATH}?correlation_id=a&{other}", accept=None) as reply:
        octets = await reply.rest()

    assert reply.status == 400
    assert json.loads(octets) == {"code": 3, "message": 'too many values for field "correlation_id": a, b'}


async def test_steps_that_the_caller_may_not_see_are_redacted(api: WebBench) -> None:
    mine, foreign = ids.parse(await api.collection()), ids.parse(await api.collection())
    cause = api.fleet.identifiers.next(api.fleet.clock.time_ns())
    for collection in (mine, foreign):
        event = UpstreamMessage(origin=Origin(collection, 7), correlation_id=cause, bytes=1, transport=Transport.UDP)
        api.fleet.bus.publish(event)
    token = await api.token(f"/collections/{ids.render(mine)}")
    seen, hidden = await related(api, f"cause:{ids.to_ulid(cause)}", token)

    assert {"data", "correlation_ids"} <= set(seen)
    assert list(hidden) == ["name", "time", "identifiers", "origin", "visibility", "unique_id"]


async def test_a_caller_who_may_see_none_of_the_steps_learns_nothing(api: WebBench) -> None:
    """Identifiers can be guessed: a reply would tell who did something when."""
    collection, foreign = await api.collection(), await api.collection()
    device_id = await api.device(foreign)
    message = ids.to_ulid(ids.parse(api.receive(device_id)))
    token = await api.token(f"/collections/{collection}")

    assert await related(api, f"cause:{message}", token) == []
    assert await related(api, f"cause:{message}")


async def test_the_number_of_related_events_is_bounded(api: WebBench) -> None:
    collection = ids.parse(await api.collection())
    cause = api.fleet.identifiers.next(api.fleet.clock.time_ns())
    for number in range(100, 220):
        api.fleet.bus.publish(DeviceUpdated(origin=Origin(collection, number), correlation_id=cause))
    found = await related(api, f"cause:{ids.to_ulid(cause)}")

    assert len(found) == 100
    assert found[-1]["identifiers"][0]["device_ids"]["device_id"] == ids.render(219)


async def test_a_stranger_is_refused(api: WebBench) -> None:
    """The original answers anybody: that leak is not copied."""
    async with Raw(api, method="GET", path=f"{PATH}?correlation_id=x", token=None, accept=None) as reply:
        octets = await reply.rest()
    found = json.loads(octets)

    assert reply.status == 401
    assert reply.head["www-authenticate"] == "Bearer"
    assert octets.startswith(b'{"code":16, "message":"error:pkg/auth/rights:unauthenticated (unauthenticated)", ')
    check(found, STATUS)


@pytest.mark.parametrize("query", ["", "?correlation_id=", f"?correlation_id={'x' * 101}"])
async def test_the_id_has_1_to_100_characters(api: WebBench, query: str) -> None:
    """The status is not wrapped, as this method is no stream."""
    async with Raw(api, method="GET", path=PATH + query, accept="text/event-stream") as reply:
        found = json.loads(await reply.rest())

    assert (reply.status, reply.head["content-type"]) == (400, "text/event-stream")
    assert found["message"].startswith("error:pkg/errors:validation (invalid `correlation_id`: value length must be")
