"""Messages from devices over REST: /data and /inbox, and how both are paged."""

from __future__ import annotations

import pytest

from span_events.events.message import Transport
from tests.web.conftest import IN_MODULE, WebBench


async def ids_of(api: WebBench, path: str, query: str = "") -> list[str]:
    """Return the ids of the messages that a list holds."""
    reply = await api.call("GET", f"{path}?{query}")
    assert reply.status == 200, reply.body
    (messages,) = reply.body.values()
    return [each["messageId"] for each in messages]


async def test_data_has_the_documents_of_the_from_streams(api: WebBench) -> None:
    """OutputDataMessage, with the metadata of the transport."""
    collection = await api.collection()
    device = await api.device(collection)
    udp = api.receive(device, b"\x00\xff")
    coap = api.receive(device, b"hi", transport=Transport.COAP)
    shown = (await api.call("GET", f"/span/collections/{collection}/devices/{device}")).body
    data = (await api.call("GET", f"/span/collections/{collection}/data")).body["data"]
    common = {"type": "data", "device": shown, "received": "1714076616000", "gatewayId": "3"}

    assert data == [
        {
            **common,
            "messageId": coap,
            "payload": "aGk=",
            "transport": "coap",
            "coapMetaData": {"code": "POST", "path": "a/b"},
        },
        {
            **common,
            "messageId": udp,
            "payload": "AP8=",
            "transport": "udp",
            "udpMetaData": {"localPort": 1234, "remotePort": 4000},
        },
    ]


async def test_lists_of_a_device_hold_its_messages_only(api: WebBench) -> None:
    """The list of a collection holds all messages, newest first."""
    collection = await api.collection()
    first, second = await api.device(collection), await api.device(collection)
    a, b, c = (api.receive(each) for each in (first, second, first))
    path = f"/span/collections/{collection}"

    assert await ids_of(api, f"{path}/data") == [c, b, a]
    assert await ids_of(api, f"{path}/devices/{first}/data") == [c, a]
    assert await ids_of(api, f"{path}/devices/{first}/inbox") == [c, a]
    assert await ids_of(api, f"{path}/devices/{second}/inbox") == [b]


async def test_pages_follow_each_other_by_offset(api: WebBench) -> None:
    """The offset is the id of the last known message; the next page begins after that message."""
    collection = await api.collection()
    device = await api.device(collection)
    sent = [api.receive(device) for _ in range(5)][::-1]
    path = f"/span/collections/{collection}/data"
    first = await ids_of(api, path, "limit=2")
    second = await ids_of(api, path, f"limit=2&offset={first[-1]}")
    third = await ids_of(api, path, f"limit=2&offset={second[-1]}")
    last = await ids_of(api, path, f"limit=2&offset={third[-1]}")

    assert [first, second, third, last] == [sent[:2], sent[2:4], sent[4:], []]


async def test_a_stretch_of_time_is_asked_for_in_milliseconds(api: WebBench) -> None:
    """From start on, before end."""
    collection = await api.collection()
    device = await api.device(collection)
    sent = []
    for _ in range(3):
        sent.append(api.receive(device))
        api.fleet.clock.shift(1)
    path = f"/span/collections/{collection}/devices/{device}/inbox"
    second = 1714076617000

    assert await ids_of(api, path, f"start={second}") == [sent[2], sent[1]]
    assert await ids_of(api, path, f"end={second}") == [sent[0]]
    assert await ids_of(api, path, f"start={second}&end={second + 1000}") == [sent[1]]


async def test_empty_and_zero_parameters_count_as_absent(api: WebBench) -> None:
    """Generated clients send empty parameters."""
    collection = await api.collection()
    sent = api.receive(await api.device(collection))

    assert await ids_of(api, f"/span/collections/{collection}/data", "limit=0&start=&end=&offset=") == [sent]


@pytest.mark.parametrize(("name", "limit"), [("data", 512), ("inbox", 250)])
async def test_a_list_has_a_default_limit(api: WebBench, name: str, limit: int) -> None:
    """512 for data, 250 for the inbox; up to 1000 on request."""
    collection = await api.collection()
    device = await api.device(collection)
    for _ in range(1_001):
        api.receive(device)
    path = f"/span/collections/{collection}/devices/{device}/{name}"

    assert len(await ids_of(api, path)) == limit
    assert len(await ids_of(api, path, "limit=1000")) == 1_000


@IN_MODULE
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=1001", "limit: '1001' is not a whole number from 0 to 1000"),
        ("limit=-1", "limit: '-1' is not a whole number from 0 to 1000"),
        ("limit=2.5", "limit: '2.5' is not a whole number from 0 to 1000"),
        ("start=yesterday", "start: 'yesterday' is not a whole number from 0 to 9007199254740992"),
        ("end=99999999999999999999999", "end: '99999999999999999999999' is not a whole number from 0 to"),
        ("offset=xyz", "offset: 'xyz' is not a message id"),
        ("offset=1&start=1", "offset: cannot be combined with start or end"),
        ("offset=1&end=1", "offset: cannot be combined with start or end"),
        ("start=2&end=1", "start: 2 is after end, 1"),
    ],
)
async def test_wrong_parameters_are_named(shared_api: WebBench, query: str, sentence: str) -> None:
    """With the received value and the valid form."""
    collection = await shared_api.collection()
    reply = await shared_api.call("GET", f"/span/collections/{collection}/data?{query}")
    status, detail = reply.problem

    assert status == 400
    assert detail.startswith(sentence)
    assert reply.body["field"] == query.partition("=")[0]


async def test_old_messages_do_not_show_the_new_collection_of_a_moved_device(api: WebBench) -> None:
    """A reader of the old collection may have no access to the new one: its payloads, addresses, tags."""
    old, new = await api.collection(), await api.collection()
    device = await api.device(old)
    api.receive(device)
    await api.call("PATCH", f"/span/collections/{old}/devices/{device}", json={"collectionId": new})
    api.receive(device, b"secret")
    data = (await api.call("GET", f"/span/collections/{old}/data")).body["data"]

    assert [each["device"] for each in data] == [{"collectionId": old, "deviceId": device, "metadata": {}}]
