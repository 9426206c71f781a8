"""The REST API in curl."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.programs import run


async def curl(
    server: LiveServer, method: str, path: str, body: object = None, *, token: str | None = None
) -> tuple[int, str, Any]:
    """Make a request; return status, media type and the document of the reply."""
    command = ["curl", "--silent", "--show-error", "-X", method, f"http://{server.addresses['http']}{path}"]
    command += ["-H", f"X-API-Token: {server.token if token is None else token}"]
    command += ["-w", r"\n%{http_code} %{content_type}"]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", body if isinstance(body, str) else json.dumps(body)]
    ended = await run(*command)
    assert ended.status == 0, ended.complaints
    document, _, told = ended.output.rpartition("\n")
    status, _, media_type = told.partition(" ")
    return int(status), media_type.partition(";")[0], json.loads(document)


async def test_a_device_is_created_and_gets_a_message(server: LiveServer) -> None:
    """Collection, device with an address, outbox; every reply is a document of its own."""
    status, media_type, collection = await curl(server, "POST", "/span/collections", {"tags": {"name": "lab"}})
    devices = f"/span/collections/{collection['collectionId']}/devices"
    address = server.free_address()
    body = {"tags": {"name": "pump"}, "metadata": {"ciot": {"allocatedIp": address}}}
    _, _, device = await curl(server, "POST", devices, body)
    path = f"{devices}/{device['deviceId']}"
    _, _, message = await curl(server, "POST", f"{path}/outbox", {"payload": b64encode(b"lamp on").decode()})
    output = await server.coap_client(address, "-m", "post", "-e", "hello")
    outbox, inbox, data, seen = [
        (await curl(server, "GET", each))[2] for each in (f"{path}/outbox", f"{path}/inbox", f"{path}/data", path)
    ]

    assert (status, media_type) == (200, "application/json")
    assert collection["tags"] == {"name": "lab"}
    assert device["metadata"]["ciot"]["allocatedIp"] == address
    assert output == "lamp on"
    assert [(each["messageId"], each["state"]) for each in outbox["messages"]] == [(message["messageId"], "sent")]
    assert [each["payload"] for each in inbox["messages"]] == [b64encode(b"hello").decode()]
    assert [each["device"]["deviceId"] for each in data["data"]] == [device["deviceId"]]
    assert seen["lastPayload"] == b64encode(b"hello").decode()


async def test_deleted_resources_are_not_found(server: LiveServer, device: LiveDevice) -> None:
    """A collection goes when its devices have gone."""
    collection = f"/span/collections/{device.collection}"
    _, _, message = await curl(server, "POST", f"{device.path}/outbox", {"payload": ""})
    statuses = [
        (await curl(server, method, path))[0]
        for method, path in (
            ("DELETE", collection),
            ("DELETE", f"{device.path}/outbox/{message['messageId']}"),
            ("DELETE", device.path),
            ("GET", device.path),
            ("DELETE", collection),
            ("GET", collection),
        )
    ]

    assert statuses == [409, 200, 200, 404, 200, 404]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("GET", "/span/collections/17dh0cf43jfgl8", None, 404, "collection"),
        ("GET", "/span/collections/zzz", None, 400, "collection"),
        ("GET", "/span/nothing", None, 404, ""),
        ("PUT", "/span/collections", {}, 405, ""),
        ("POST", "/span/collections", "{", 400, ""),
        ("POST", "/span/collections", {"tags": 7}, 400, "tags"),
        ("GET", "/span/activity?tail=x", None, 400, "tail"),
    ],
)
async def test_a_refusal_names_its_cause(
    server: LiveServer, method: str, path: str, body: object, status: int, field: str
) -> None:
    """As problem+json, with what Span's clients read and what people need."""
    seen, media_type, problem = await curl(server, method, path, body)

    assert (seen, media_type, problem["status"]) == (status, "application/problem+json", status)
    assert problem["title"]
    assert problem["detail"]
    assert isinstance(problem["code"], int)
    assert problem["message"]
    assert problem.get("field", "") == field


@pytest.mark.parametrize("token", ["", "0123456789abcdef"])
async def test_a_wrong_token_is_refused(server: LiveServer, token: str) -> None:
    """With what to do about it."""
    status, media_type, problem = await curl(server, "GET", "/span/collections", token=token)

    assert (status, media_type) == (401, "application/problem+json")
    assert "span-events token create" in problem["hint"]


async def test_a_token_is_limited_to_its_resource(server: LiveServer, device: LiveDevice) -> None:
    """Neither writing with one that may only read, nor another collection."""
    token = await server.create_token(f"/collections/{device.collection}")
    other = await server.add_collection()
    statuses = [
        (await curl(server, method, path, body, token=token.text))[0]
        for method, path, body in (
            ("GET", device.path, None),
            ("PATCH", device.path, {"tags": {"name": "x"}}),
            ("GET", f"/span/collections/{other}", None),
        )
    ]

    assert statuses == [200, 403, 403]
