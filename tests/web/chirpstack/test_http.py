"""Events of ChirpStack's HTTP integration."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict

from span_events.proto import chirpstack_pb2 as pb
from tests.dialects.chirpstack.samples import SAMPLES, body
from tests.web.conftest import WebBench


@pytest.mark.parametrize("query", ["event=up", "event=zzz&k=1&event=up", "a=b&event=up"])
async def test_an_event_is_taken_by_the_last_parameter(api: WebBench, query: str) -> None:
    """ChirpStack appends event to what the URL has, and sends all names of headers in lower case."""
    collection = await api.collection()
    headers = {"content-type": "application/json", "x-api-token": api.admin}
    path = f"/span/collections/{collection}/chirpstack?{query}"
    reply = await api.call("POST", path, token=None, headers=headers, data=body("up"))
    again = await api.call("POST", path, data=body("up"))

    assert (reply.status, reply.body) == (200, {"result": "accepted"})
    assert (again.status, again.body) == (200, {"result": "duplicate"})
    assert api.fleet.names[-2:] == ["deviceCreated", "upstreamMessage"]


async def test_protobuf_is_known_by_its_first_octet(api: WebBench) -> None:
    collection = await api.collection()
    octets = ParseDict(SAMPLES["status"], pb.StatusEvent()).SerializeToString()
    headers = {"content-type": "application/octet-stream"}
    path = f"/span/collections/{collection}/chirpstack?event=status"

    assert (await api.call("POST", path, headers=headers, data=octets)).status == 200
    assert api.fleet.names[-1] == "deviceStatus"


async def test_kinds_of_the_future_are_taken_with_200(api: WebBench) -> None:
    """An error would make nobody send it again, or otherwise."""
    collection = await api.collection()
    reply = await api.call("POST", f"/span/collections/{collection}/chirpstack?event=linkcheck", data=b"\x00")

    assert (reply.status, reply.body) == (200, {"result": "ignored"})


@pytest.mark.parametrize(
    ("query", "data", "status", "part"),
    [
        ("", body("up"), 400, "no query parameter event"),
        ("?event=up", b"{", 400, "not JSON"),
        ("?event=up", b"\xff\xff", 400, "nor the protobuf of 'up'"),
        ("?event=up", b"{}", 400, "devEui"),
        ("?event=up", b"{" + b" " * 20_000 + b"}", 413, "http.max_body"),
    ],
)
async def test_what_is_refused_says_why(api: WebBench, query: str, data: bytes, status: int, part: str) -> None:
    collection = await api.collection()
    refused, detail = (await api.call("POST", f"/span/collections/{collection}/chirpstack{query}", data=data)).problem

    assert refused == status
    assert part in detail


async def test_a_token_needs_the_right_to_write_in_the_collection(api: WebBench) -> None:
    collection, other = await api.collection(), await api.collection()
    path = f"/span/collections/{collection}/chirpstack?event=up"
    for token in (
        await api.token(f"/collections/{collection}"),
        await api.token(f"/collections/{other}", write=True),
    ):
        assert (await api.call("POST", path, token=token, data=body("up"))).status == 403
    own = await api.token(f"/collections/{collection}", write=True)

    assert (await api.call("POST", path, token=own, data=body("up"))).status == 200
