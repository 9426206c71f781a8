"""Refused requests: every status, every sentence, one shape."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from span_events.errors import StorageUnavailable
from span_events.registry.model import Collection
from span_events.registry.store import Store
from tests.web.conftest import WebBench

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def collection(api: WebBench) -> str:
    """A collection's id."""
    return await api.collection()


async def test_a_problem_has_the_fields_of_both_shapes(api: WebBench) -> None:
    """RFC 9457 and google.rpc.Status in one body, with the hint and the request's number."""
    reply = await api.call("GET", "/span/collections/17")

    assert reply.problem == (404, "There is no collection 17")
    assert reply.body == {
        "type": "urn:span-events:not_found",
        "title": "There is no collection 17",
        "status": 404,
        "detail": "There is no collection 17",
        "code": 5,
        "message": "There is no collection 17",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "collection", "description": "There is no collection 17"}],
            },
            {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": reply.headers["x-request-id"]},
        ],
        "field": "collection",
    }


async def test_every_wrong_field_is_reported_at_once(api: WebBench, collection: str) -> None:
    """Each with its path, the received value, and the valid form."""
    body = {
        "tags": {"a": 5, "b": None},
        "enabled": "yes",
        "config": {
            "ciot": {"imsi": True, "imei": "12"},
            "gateway": {"zz!": {}, "3": "x", "4": {"params": {"key": 5}}},
        },
        "firmware": {"targetFirmwareId": 5},
        "metadata": {"ciot": {"allocatedIp": "300.1.1.1"}},
        "collectionId": "no id",
    }
    reply = await api.call("POST", f"/span/collections/{collection}/devices", json=body)
    violations = {each["field"]: each["description"] for each in reply.body["details"][0]["fieldViolations"]}

    assert reply.problem[0] == 400
    assert violations == {
        "collectionId": "'no id' is not a collection id: an id is 1 to 14 of the digits 0123456789abcdefghijklmn",
        "tags.a": "5 is not text",
        "tags.b": "null is not text",
        "enabled": '"yes" is not true or false',
        "config.ciot.imsi": "true is not 6 to 15 digits",
        "config.ciot.imei": '"12" is not 14 to 16 digits',
        "config.gateway.zz!": "'zz!' is not a gateway id: an id is 1 to 14 of the digits 0123456789abcdefghijklmn",
        "config.gateway.3": '"x" is not an object',
        "config.gateway.4.params.key": "5 is not text",
        "firmware.targetFirmwareId": "5 is not text, and an id is text in base 24",
        "metadata.ciot.allocatedIp": "'300.1.1.1' is not an IPv4 or IPv6 address",
    }
    assert reply.body["detail"] == "; ".join(f"{field}: {text}" for field, text in violations.items())


@pytest.mark.parametrize(
    ("octets", "pattern"),
    [
        (b'{"tags": }', r"The body is not JSON: .+ \(line 1, column 10\)"),
        (b'{\n"tags": {"a" 5}}', r"The body is not JSON: .+ \(line 2, column 14\)"),
        (b"[1]", r"The body is \[1\]; a JSON object is wanted"),
        (b"null", r"The body is null; a JSON object is wanted"),
        (b"\xff\xfe", r"The body is not JSON: .+"),
        (b"[" * 10_000, r"The body is not JSON: .+"),
    ],
)
async def test_a_body_that_is_no_json_object_is_explained(api: WebBench, octets: bytes, pattern: str) -> None:
    """With line and column of the first octet that is no JSON."""
    reply = await api.call("POST", "/span/collections", data=octets, headers=JSON)
    status, detail = reply.problem

    assert status == 400
    assert re.fullmatch(pattern, detail)


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({str(number): "" for number in range(101)}, "tags: 101 entries, at most 100"),
        ({"": "x"}, 'tags: the name "" has 0 characters, not 1 to 128'),
        ({"n" * 129: "x"}, 'tags: the name "' + "n" * 47 + "… has 129 characters, not 1 to 128"),
        ({"name": "v" * 1025}, "tags: name: the value has 1025 characters, at most 1024"),
    ],
)
async def test_tags_have_limits(api: WebBench, collection: str, tags: dict[str, str], sentence: str) -> None:
    """Of devices as of collections."""
    for path in ("/span/collections", f"/span/collections/{collection}/devices"):
        reply = await api.call("POST", path, json={"tags": tags})

        assert reply.problem == (400, sentence)


async def test_tags_are_counted_after_merging(api: WebBench) -> None:
    """At the limit, an existing tag can change; a new one is refused."""
    tags = {str(number): "" for number in range(100)}
    collection = await api.collection(tags=tags)
    path = f"/span/collections/{collection}"
    changed = await api.call("PATCH", path, json={"tags": {"0": "x"}})
    added = await api.call("PATCH", path, json={"tags": {"100": "x"}})

    assert changed.status == 200
    assert added.problem == (400, "tags: 100 are there, with the new ones it would be 101, at most 100")


@pytest.mark.parametrize(
    ("query", "headers", "problem"),
    [
        ("", {}, (401, "There is no token in the request")),
        ("", {"X-API-Token": ""}, (401, "There is no token in the request: the header X-API-Token is empty")),
        ("?api_token=", {}, (401, "There is no token in the request: api_token in the query is empty")),
        (
            "",
            {"Authorization": "Basic eA=="},
            (401, "Authorization has the scheme 'Basic'; Bearer and Token are understood"),
        ),
        (
            "",
            {"Authorization": f"Bearer {'0' * 64}"},
            (401, "The token is not known: it was deleted, was copied incompletely, or belongs to another server"),
        ),
    ],
)
async def test_a_401_names_its_cause(
    api: WebBench, collection: str, query: str, headers: dict[str, str], problem: tuple[int, str]
) -> None:
    """F40: the 401 distinguishes missing, empty, unknown tokens and other schemes."""
    reply = await api.call("GET", f"/span/collections/{collection}{query}", token=None, headers=headers)

    assert reply.problem == problem
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_a_403_names_its_cause(api: WebBench, collection: str) -> None:
    """F40: the 403 distinguishes the resource, the write access and the query."""
    path = f"/span/collections/{collection}"
    elsewhere = await api.token("/collections/17", write=True)
    reader = await api.token(f"/collections/{collection}")
    writer = await api.token(f"/collections/{collection}", write=True)
    replies = [
        await api.call("GET", path, token=elsewhere),
        await api.call("PATCH", path, token=reader, json={}),
        await api.call("POST", "/span/collections", token=writer, json={}),
        await api.call("GET", f"{path}?api_token={writer}", token=None),
        await api.call("PATCH", f"{path}?api_token={reader}", token=None, json={}),
    ]

    assert [each.problem for each in replies] == [
        (403, f"The token does not reach /collections/{collection}; it reaches /collections/17"),
        (403, f"The token may only read, and this changes /collections/{collection}"),
        (403, f"The token does not reach /collections; it reaches /collections/{collection}"),
        (403, "A token with write access is not accepted in the query, because URLs end up in logs and histories"),
        (403, f"The token may only read, and this changes /collections/{collection}"),
    ]
    assert {each.body["code"] for each in replies} == {7}
    assert all(each.body["hint"] for each in replies)


async def test_a_reader_may_read_in_every_way(api: WebBench, collection: str) -> None:
    """By header, by Authorization of either scheme, and by query."""
    reader = await api.token(f"/collections/{collection}")
    path = f"/span/collections/{collection}"
    replies = [
        await api.call("GET", path, token=reader),
        await api.call("HEAD", path, token=reader),
        await api.call("GET", path, token=None, headers={"Authorization": f"TOKEN {reader}"}),
        await api.call("GET", path, token=None, headers={"Authorization": f"Bearer {reader}"}),
        await api.call("GET", f"{path}?api_token={reader}", token=None),
    ]

    assert [each.status for each in replies] == [200] * 5


async def test_a_token_of_another_process_works_at_once_until_it_is_deleted(api: WebBench, tmp_path: Path) -> None:
    """The command line works on the registry's file beside the server."""
    elsewhere = Store(f"sqlite+aiosqlite:///{tmp_path / 'registry.sqlite'}")
    await elsewhere.open()
    tokens = type(api.tokens)(elsewhere, api.fleet.identifiers, api.fleet.clock)
    token, text = await tokens.create(resource="/", write=False)
    before = await api.call("GET", "/span/collections", token=text)
    await tokens.delete(token.id)
    await elsewhere.close()
    gone = await api.tokens.refresh()
    after = await api.call("GET", "/span/collections", token=text)

    assert before.status == 200
    assert [each.id for each in gone] == [token.id]
    assert after.problem[0] == 401


@pytest.mark.parametrize("path", ["/nope", "/span", "/span/collections/", "/span/collections/17/nope"])
async def test_unknown_paths_are_problems_too(api: WebBench, path: str) -> None:
    """An unknown URL needs no token for its 404."""
    reply = await api.call("GET", path, token=None)

    assert reply.problem == (404, f"There is nothing at {path}")
    assert reply.headers["x-request-id"]


async def test_a_405_lists_the_allowed_methods(api: WebBench, collection: str) -> None:
    """In the text and in the header Allow."""
    reply = await api.call("PUT", f"/span/collections/{collection}", token=None)

    assert reply.problem == (
        405,
        f"/span/collections/{collection} does not serve PUT; it serves DELETE, GET, HEAD, PATCH",
    )
    assert reply.headers["allow"] == "DELETE, GET, HEAD, PATCH"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(api: WebBench, chunked: bool) -> None:
    """413 names the limit and the setting, also when the length is not announced."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(21):
            yield b" " * 1_000

    body: Any = chunks() if chunked else b" " * 21_000
    reply = await api.call("POST", "/span/collections", data=body)

    assert reply.problem == (413, "The body is over 20000 octets (http.max_body)")


async def test_a_surprise_is_a_number_for_the_client_and_a_line_in_the_log(
    api: WebBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the exception leaves the server."""

    def fail(_identifier: int) -> Collection:
        raise LookupError("secret text")

    monkeypatch.setattr(api.fleet.directory, "collection", fail)
    with capture_logs() as lines:
        reply = await api.call("GET", "/span/collections/17")
    request_id = reply.headers["x-request-id"]

    assert reply.problem == (500, f"The server failed; its log tells the cause under request id {request_id}")
    assert "secret" not in str(reply)
    (line,) = lines
    assert (line["event"], line["request_id"], line["path"]) == ("request_failed", request_id, "/span/collections/17")
    assert line["exc_info"] is True


async def test_a_registry_that_fails_is_unavailable(api: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """503: the request may be repeated; the database's message goes to the log."""

    async def fail(_collection: Collection) -> None:
        raise StorageUnavailable("The registry /secret/path cannot be used: database or disk is full")

    monkeypatch.setattr(api.fleet.store, "put_collection", fail)
    with capture_logs() as lines:
        reply = await api.call("POST", "/span/collections", json={})
    listed = await api.call("GET", "/span/collections")

    assert reply.problem == (503, "The server's storage cannot be used now; its log says why")
    assert [each["event"] for each in lines] == ["storage_unavailable"]
    assert "disk is full" in lines[0]["detail"]
    assert listed.body == {"collections": []}


async def test_streams_are_refused_in_the_same_shape(api: WebBench, collection: str) -> None:
    """With and without the prefix, before any upgrade."""
    for path in ("/span/activity", f"/span/collections/{collection}/activity", f"/collections/{collection}/from"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await api.session.ws_connect(api.url + path, headers={"Authorization": "Bearer x"})
        reply = await api.call("GET", path, token=None)

        assert caught.value.status == 401
        assert reply.problem == (401, "There is no token in the request")


@pytest.mark.parametrize("octets", [b"[" * 1000 + b"]" * 1000, b'{"tags":' + b"[" * 1000 + b"]" * 1000 + b"}"])
async def test_a_body_that_is_nested_deeply_is_refused(api: WebBench, octets: bytes) -> None:
    """Quoting the value must not fail."""
    status, detail = (await api.call("POST", "/span/collections", data=octets)).problem

    assert status == 400
    assert "a deeply nested value" in detail


async def test_of_very_many_wrong_fields_some_are_listed(api: WebBench) -> None:
    """The reply to a hostile body must not be ten times its size."""
    reply = await api.call("POST", "/span/collections", json={"tags": {f"k{each}": each for each in range(1000)}})
    status, detail = reply.problem

    assert status == 400
    assert detail.endswith("; 980 more fields are wrong")
    assert len(reply.body["details"][0]["fieldViolations"]) == 21


@pytest.mark.parametrize("origin", [b"http://\xff", b"http://[", b"\xff"])
async def test_an_origin_that_is_no_origin_is_refused(api: WebBench, collection: str, origin: bytes) -> None:
    """Whatever its octets are, the refusal is a problem."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    path = f"/span/collections/{collection}/activity".encode()
    writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\nOrigin: %b\r\nConnection: close\r\n\r\n" % (path, origin))
    reply = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert reply.startswith(b"HTTP/1.1 403 ")
    assert b"application/problem+json" in reply


async def test_a_stream_that_is_no_websocket_names_the_protocol(api: WebBench, collection: str) -> None:
    """And the version that is spoken (RFC 9110 15.5.22, RFC 6455 4.4)."""
    path = f"/span/collections/{collection}/activity"
    reply = await api.call("GET", path, headers={"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})

    assert reply.problem[0] == 426
    assert reply.headers["upgrade"] == "websocket"
    assert reply.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (bytes.fromhex("160301002001"), "TLS (ClientHello)"),
        (b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04test", "MQTT (CONNECT)"),
        (b"\0\0\0\0\r\n\r\n", "do not begin with a method"),
    ],
)
async def test_octets_of_another_protocol_are_named(api: WebBench, octets: bytes, words: str) -> None:
    """In the reply, and so in the client's log."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(octets)
    reply = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert reply.startswith(b"HTTP/1.0 400 ")
    assert words.encode() in reply
