"""Every way in which a request can fail, as people read it."""

from __future__ import annotations

import asyncio

import pytest

from span_events.client.api import Client
from span_events.errors import ServerUnreachable
from tests.cli.bench import COLLECTION, Api, problem, run

LIST = "GET /span/collections"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 503])
async def test_a_refusal_shows_the_problems_detail_and_hint(status: int) -> None:
    async with Api({LIST: (status, problem(status, "It is like this.", "Do that."))}) as api:
        result = await api.run("collection", "list")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "error: It is like this.\nhint: Do that.\n"


@pytest.mark.parametrize("what", ["collection", "device"])
async def test_a_missing_resource_is_refused_with_the_command_that_lists_ids(what: str) -> None:
    async with Api({LIST: (404, problem(404, f"There is no {what} 17dh0cf43jfgl8", field=what))}) as api:
        result = await api.run("collection", "list")

    assert result.stderr == (
        f"error: There is no {what} 17dh0cf43jfgl8\nhint: `span-events {what} list` shows the ids.\n"
    )


async def test_a_missing_token_is_named_by_its_option() -> None:
    """The server can only speak of headers."""
    async with Api({LIST: (401, problem(401, "No token was sent.", "Send X-API-Token."))}) as api:
        result = await run("--endpoint", api.url, "collection", "list")

    assert "error: No token was sent." in result.stderr
    assert "hint: Give --token or SPAN_API_TOKEN" in result.stderr


async def test_a_refusal_in_spans_own_shape_is_read_too() -> None:
    async with Api({LIST: (404, {"code": 5, "message": "not here", "details": [{"hint": "look there"}]})}) as api:
        result = await api.run("collection", "list")

    assert result.stderr == "error: not here\nhint: look there\n"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((502, b"<html>bad gateway</html>"), "The server answered 502 Bad Gateway"),
        ((299, b"<html>hello</html>"), "The answer to GET /span/collections is no JSON object"),
        ((200, b"[]"), "The answer to GET /span/collections is no JSON object"),
        ((599, b""), "The server answered 599"),
    ],
)
async def test_a_server_that_is_not_ours_is_named_as_such(reply: object, error: str) -> None:
    async with Api({LIST: reply}) as api:
        result = await api.run("collection", "list")

    assert result.exit_code == 1
    assert f"error: {error}" in result.stderr
    assert "Is --endpoint a span-events server" in result.stderr


async def test_a_server_that_speaks_no_http_is_unreachable() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        result = await run("--endpoint", f"http://127.0.0.1:{port}", "collection", "list")

    assert result.exit_code == 5
    assert f"error: Cannot reach http://127.0.0.1:{port}" in result.stderr


async def test_https_towards_a_server_without_tls_is_explained() -> None:
    async with Api() as api:
        result = await run("--endpoint", api.url.replace("http", "https"), "collection", "list")

    assert result.exit_code == 5
    assert "does not speak TLS" in result.stderr
    assert "write http://" in result.stderr


async def test_a_host_that_does_not_exist_is_unreachable() -> None:
    async with Client("http://nowhere.invalid:1", "") as client:
        with pytest.raises(ServerUnreachable, match=r"nowhere\.invalid"):
            await client.request("GET", f"/span/collections/{COLLECTION}")
