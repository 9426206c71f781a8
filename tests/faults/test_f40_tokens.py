"""F40: a token that is missing, wrong, without access, writable in the query, or revoked while streaming."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.bench.live import Reply, Token
from tests.bench.waiting import PATIENCE
from tests.faults.scene import Scene

UNKNOWN: Final = "5eed" * 16


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the tests present."""

    reader: Token
    """Of the scene's collection."""
    stranger: Token
    """Of another collection."""


@pytest.fixture
async def tokens(scene: Scene) -> Tokens:
    """Two read-only tokens, made by the command line."""
    other = await scene.server.add_collection()
    made = await asyncio.gather(
        scene.server.create_token(f"/collections/{scene.device.collection}"),
        scene.server.create_token(f"/collections/{other}"),
    )
    return Tokens(*made)


async def refusals(scene: Scene, headers: Mapping[str, str], api_token: str | None = None) -> list[Reply]:
    """Ask for the collection over REST, and for both of its streams."""
    collection = f"/span/collections/{scene.device.collection}"
    query = {} if api_token is None else {"api_token": api_token}
    text = "" if api_token is None else f"?api_token={api_token}"
    return [
        await scene.server.request("GET", f"{collection}{text}", headers=headers),
        await scene.server.refused_tail(f"{collection}/activity", query, headers=headers),
        await scene.server.refused_tail(f"{collection}/from", query, headers=headers),
    ]


def check(replies: list[Reply], status: int, rpc_code: int, text: str) -> None:
    """Each refusal is a problem (RFC 9457) that says which it was, and what to do."""
    for reply in replies:
        assert (reply.status, reply.content_type) == (status, "application/problem+json")
        assert (reply.document["status"], reply.document["code"]) == (status, rpc_code)
        assert reply.document["detail"] == reply.document["message"] == text
        assert text in reply.document["title"]
        assert reply.document["hint"]


async def test_a_missing_an_empty_and_a_wrong_token_get_401(scene: Scene) -> None:
    """REST and sockets say the same, the latter before the upgrade; a socket may bring a missing one afterwards."""
    missing = [await scene.server.request("GET", f"/span/collections/{scene.device.collection}", headers={})]
    empty = await refusals(scene, {"X-API-Token": ""})
    empty_in_query = await refusals(scene, {}, "")
    unknown = await refusals(scene, {"X-API-Token": UNKNOWN})
    unknown_in_query = await refusals(scene, {}, UNKNOWN)
    basic = await refusals(scene, {"Authorization": "Basic dXNlcjpwYXNz"})

    check(missing, 401, 16, "There is no token in the request")
    check(empty, 401, 16, "There is no token in the request: the header X-API-Token is empty")
    check(empty_in_query, 401, 16, "There is no token in the request: api_token in the query is empty")
    check(basic, 401, 16, "Authorization has the scheme 'Basic'; Bearer and Token are understood")
    for replies in (unknown, unknown_in_query):
        check(
            replies,
            401,
            16,
            "The token is not known: it was deleted, was copied incompletely, or belongs to another server",
        )


@pytest.mark.parametrize("kind", ["activity", "from"])
@pytest.mark.parametrize("first", ["hello", json.dumps({"jwt": UNKNOWN})])
async def test_a_stream_without_a_token_waits_for_a_message_with_one_and_closes_with_1008(
    scene: Scene, kind: str, first: str
) -> None:
    """Span's logged-in clients send it first; a message without it, or with a wrong one, ends the stream."""
    url = f"ws://{scene.server.addresses['http']}/span/collections/{scene.device.collection}/{kind}"
    async with asyncio.timeout(PATIENCE), connect(url) as stream:
        await stream.send(first)
        with pytest.raises(ConnectionClosed):
            await stream.recv()

    assert stream.close_code == 1008
    assert stream.close_reason


async def test_a_token_of_another_collection_gets_403(scene: Scene, tokens: Tokens) -> None:
    """The text says what was asked for, and what the token reaches."""
    mine = f"/collections/{scene.device.collection}"
    replies = await refusals(scene, {"X-API-Token": tokens.stranger.text})
    text = replies[0].document["detail"]

    check(replies, 403, 7, text)
    assert text.startswith(f"The token does not reach {mine}; it reaches /collections/")


async def test_a_write_token_in_the_query_gets_403_and_a_read_only_one_is_served(scene: Scene, tokens: Tokens) -> None:
    """URLs end up in logs; in a header the same token is welcome."""
    path = f"/span/collections/{scene.device.collection}/activity"
    replies = await refusals(scene, {}, scene.server.token)
    async with scene.server.tail(path, {"api_token": tokens.reader.text}, headers={}) as tail:
        await scene.names_until_now()
        await tail.until("deviceUpdated")

    check(
        replies,
        403,
        7,
        "A token with write access is not accepted in the query, because URLs end up in logs and histories",
    )


async def test_a_read_only_token_cannot_write(scene: Scene, tokens: Tokens) -> None:
    """It gets 403, and nothing has changed."""
    device = scene.device
    headers = {"X-API-Token": tokens.reader.text}
    read = await scene.server.request("GET", device.path, headers=headers)
    patched = await scene.server.request("PATCH", device.path, {"tags": {"name": "mine"}}, headers=headers)
    queued = await scene.server.request("POST", f"{device.path}/outbox", {"payload": ""}, headers=headers)
    deleted = await scene.server.request("DELETE", device.path, headers=headers)

    assert read.status == 200
    for reply in (patched, queued, deleted):
        text = reply.document["detail"]
        check([reply], 403, 7, text)
        assert text.startswith("The token may only read, and this changes /collections/")
    assert await scene.server.call("GET", device.path) == read.document
    assert scene.tail.names == []


async def test_a_token_that_is_revoked_while_streaming_closes_its_streams_with_1008(
    scene: Scene, tokens: Tokens
) -> None:
    """Although another process deleted it; streams of other tokens go on."""
    server, collection = scene.server, f"/span/collections/{scene.device.collection}"
    headers = {"X-API-Token": tokens.reader.text}
    async with (
        server.tail(f"{collection}/activity", headers=headers) as activity,
        server.tail(f"{collection}/from", headers=headers) as messages,
    ):
        scene.udp().send(b"hello")
        await activity.until("upstreamMessage")
        await messages.next()
        await server.delete_token(tokens.reader)
        closes = [await activity.closed(), await messages.closed()]
    replies = await refusals(scene, headers)
    names = await scene.names_until_now()

    assert closes == [(1008, "the token was revoked")] * 2
    assert {reply.status for reply in replies} == {401}
    assert names == ["clientConnected", "upstreamMessage"]
