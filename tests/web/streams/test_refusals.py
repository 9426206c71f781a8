"""Streams that are refused before the upgrade."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import render
from tests.bench.servers import Running, activity, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One server with few places for all tests: a refusal changes nothing."""
    settings = {"fanout": {"subscribers": 20}, "streams": {"max_tail": 50}}
    async with running(tmp_path_factory.mktemp("site"), **settings) as opened:
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


async def test_a_stream_of_no_gateway_is_refused(site: Running) -> None:
    """404, as for devices; also for a gateway of another collection."""
    collection = await site.collection()
    elsewhere = await site.server.fleet.gateways.create(await site.collection(), GatewayChange())
    for gateway in ("17", render(elsewhere.id)):
        with pytest.raises(InvalidStatus) as refused:
            await site.stream(activity(collection, f"/gateways/{gateway}/activity"))

        assert refused.value.response.status_code == 404


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
        ("text=a&event=!blobUpload&event=/u/&text=b", "text", "text: is there more than once"),
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
    await site.joined(0)
    streams = [await site.stream(activity(collection)) for _ in range(20)]
    await site.joined(20)
    status, problem = await refusal(site, activity(collection))
    for each in streams:
        await each.close()
    await site.joined(0)

    assert (status, "fanout.subscribers" in problem["detail"]) == (503, True)
    async with site.stream(activity(collection)):
        await site.joined(1)
