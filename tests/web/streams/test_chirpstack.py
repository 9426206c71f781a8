"""Streams in ChirpStack's form."""

from __future__ import annotations

import json
from base64 import b64decode

from span_events.ids import render
from tests.bench.servers import Running, activity, events


async def test_a_stream_in_chirpstacks_form_names_topics_and_leaves_out_the_others(site: Running) -> None:
    """Live and past; payload and counter of each message; a new filter changes nothing about that."""
    collection = await site.collection()
    path = f"{activity(collection)}?format=chirpstack"
    async with site.stream(path) as stream:
        await site.joined(1)
        device = await site.device(collection)
        site.receive(device)
        live = await events(stream, 3)
        await stream.send(json.dumps({"filter": {"event": "upstreamMessage"}}))
        assert "filter" in json.loads(await stream.recv())
        site.receive(device)
        (again,) = await events(stream, 1)
    async with site.stream(f"{path}&tail=10&follow=0") as stream:
        past = await events(stream, 4)

    assert [each["topic"].rpartition("/")[2] for each in live] == ["log", "log", "up"]
    assert past == [*live, again]
    assert [each["payload"]["fCnt"] for each in (live[2], again)] == [0, 1]
    assert b64decode(again["payload"]["data"]) == b"hello"
    assert again["payload"]["deviceInfo"]["tags"]["span_device_id"] == render(device.id)
