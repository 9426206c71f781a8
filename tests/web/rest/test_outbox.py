"""Messages to devices over REST."""

from __future__ import annotations

import base64

import pytest

from span_events import ids
from span_events.events.message import Transport
from tests.web.conftest import WebBench


async def outbox(api: WebBench) -> tuple[str, str]:
    """Make a device; return its id and the path of its outbox."""
    collection = await api.collection()
    device = await api.device(collection)
    api.fleet.activities.clear()
    return device, f"/span/collections/{collection}/devices/{device}/outbox"


async def test_a_message_waits_is_sent_and_stays_in_the_list(api: WebBench) -> None:
    """First in, first out; the list is newest first."""
    device, path = await outbox(api)
    first = (await api.call("POST", path, json={"payload": "AP8="})).body
    api.fleet.clock.shift(1.5)
    second = (await api.call("POST", path, json={"payload": ""})).body
    known = api.known(device)
    waiting = api.fleet.outbox.next_for(known)
    assert waiting is not None
    api.fleet.outbox.sent(known, waiting, transport=Transport.COAP, cause=None)
    listed = (await api.call("GET", path)).body["messages"]

    assert waiting.payload == b"\x00\xff"
    assert listed == [
        second,
        {**first, "state": "sent", "transport": "coap", "gatewayId": "3", "sentTime": "1714076617500"},
    ]


async def test_a_call_is_the_cause_of_its_event(api: WebBench) -> None:
    """Of queueing, and of deleting a waiting message."""
    _, path = await outbox(api)
    queued = await api.call("POST", path, json={"payload": "aGk="})
    deleted = await api.call("DELETE", f"{path}/{queued.body['messageId']}")
    gone = await api.call("DELETE", f"{path}/{queued.body['messageId']}")

    assert api.fleet.names == ["downstreamQueued", "downstreamFailed"]
    assert [ids.render(each.correlation_id or 0) for each in api.fleet.events] == [
        queued.headers["x-request-id"],
        deleted.headers["x-request-id"],
    ]
    assert gone.problem[0] == 404


async def test_an_outbox_is_paged_like_an_inbox(api: WebBench) -> None:
    """By offset, or by a stretch of time."""
    _, path = await outbox(api)
    sent = [(await api.call("POST", path, json={"payload": "aGk="})).body["messageId"] for _ in range(2)]
    pages = [
        [each["messageId"] for each in (await api.call("GET", f"{path}?{query}")).body["messages"]]
        for query in ("limit=1", f"offset={sent[1]}", "end=1714076616000", "start=1714076616000")
    ]

    assert pages == [[sent[1]], [sent[0]], [], sent[::-1]]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "payload: is missing"),
        ({"payload": None}, "payload: null is not text, and a payload is base64 (RFC 4648 section 4)"),
        ({"payload": 5}, "payload: 5 is not text, and a payload is base64 (RFC 4648 section 4)"),
        ({"payload": "hello!"}, 'payload: "hello!" is not base64 (RFC 4648 section 4)'),
        ({"payload": "aGk"}, 'payload: "aGk" is not base64 (RFC 4648 section 4)'),
        ({"payload": "aGé="}, 'payload: "aGé=" is not base64 (RFC 4648 section 4)'),
    ],
)
async def test_a_payload_is_base64(api: WebBench, body: object, sentence: str) -> None:
    """The text is not guessed at: half a payload would harm the device."""
    _, path = await outbox(api)
    reply = await api.call("POST", path, json=body)
    status, detail = reply.problem

    assert status == 400
    assert detail.startswith(sentence)
    assert reply.body["field"] == "payload"


async def test_a_payload_over_the_limit_is_refused(api: WebBench) -> None:
    """413 names the size and the setting."""
    _, path = await outbox(api)
    reply = await api.call("POST", path, json={"payload": base64.b64encode(b"x" * 51).decode()})

    assert reply.problem == (413, "payload: 51 octets, downstream.max_payload is 50")


async def test_a_full_outbox_is_refused(api: WebBench) -> None:
    """429 names the setting and a hint."""
    _, path = await outbox(api)
    replies = [await api.call("POST", path, json={"payload": "aGk="}) for _ in range(3)]

    assert [each.status for each in replies] == [200, 200, 429]
    assert replies[2].problem == (
        429,
        "2 messages wait for this device, as many as downstream.per_device allows",
    )
    assert replies[2].body["hint"]
    assert replies[2].body["code"] == 8
