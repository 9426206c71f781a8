"""Web pages of other origins: those in ``http.allowed_origins`` use the API and streams, with a token of theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.web.conftest import Reply, WebBench, web_bench

PAGE: Final = "http://localhost:3000"
FOREIGN: Final = "https://evil.example"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API."""
    async with web_bench(tmp_path) as bench:
        yield bench


def sharing(reply: Reply) -> dict[str, str]:
    """Return the CORS headers of a reply."""
    return {name: text for name, text in reply.headers.items() if name.startswith("access-control")}


async def ask(api: WebBench, path: str, origin: str, *, method: str = "PATCH") -> Reply:
    """Ask as a browser does before a request."""
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "if-match"}
    return await api.call("OPTIONS", path, token=None, headers=headers)


@pytest.mark.parametrize(
    "path", ["/span/collections", "/span/collections/17/devices/17", "/span/activity", "/collections/17/from"]
)
async def test_core_08_a_browsers_question_is_answered_without_a_token(api: WebBench, path: str) -> None:
    reply = await ask(api, path, PAGE)

    assert reply.status == 204
    assert reply.headers["vary"] == "Origin"
    assert sharing(reply) == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "access-control-allow-headers": "Authorization, X-API-Token, Content-Type, If-Match, Last-Event-ID",
        "access-control-expose-headers": "ETag, X-Warning, X-Request-Id, Retry-After",
        "access-control-max-age": "600",
    }


async def test_core_08_replies_and_refusals_can_be_read_by_the_page(api: WebBench) -> None:
    """Each kind: a document, a problem of a handler, one of the middleware, and one without a route."""
    headers = {"Origin": PAGE}
    replies = [
        await api.call("GET", "/span/collections", headers=headers),
        await api.call("GET", "/span/collections/17", headers=headers),
        await api.call("GET", "/span/collections", token=None, headers=headers),
        await api.call("GET", "/span/nothing", headers=headers),
        await api.call("GET", "/openapi.json", token=None, headers=headers),
    ]

    assert [each.status for each in replies] == [200, 404, 401, 404, 200]
    assert [sharing(each)["access-control-allow-origin"] for each in replies] == [PAGE] * 5


async def test_core_08_pages_of_foreign_origins_cannot_use_the_api(api: WebBench) -> None:
    """A preflight is refused like any other method that is not served."""
    refused = await ask(api, "/span/collections", FOREIGN)
    simple = await api.call("GET", "/span/collections", headers={"Origin": FOREIGN})

    assert refused.problem[0] == 405
    assert simple.headers["vary"] == "Origin"
    assert sharing(refused) == sharing(simple) == {}


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
async def test_core_08_health_and_metrics_are_for_no_page(api: WebBench, path: str) -> None:
    """They need no token, so that any page of an allowed origin could read them."""
    reply = await api.call("GET", path, token=None, headers={"Origin": PAGE})

    assert reply.status == 200
    assert sharing(reply) == {}
    assert (await ask(api, path, PAGE)).problem[0] == 405


async def test_core_08_a_token_is_never_ambient(api: WebBench) -> None:
    """No reply allows credentials of the browser, and a cookie is no token."""
    cookie = {"Origin": PAGE, "Cookie": f"X-API-Token={api.admin}; token={api.admin}"}
    reply = await api.call("GET", "/span/collections", token=None, headers=cookie)

    assert reply.problem[0] == 401
    assert "access-control-allow-credentials" not in sharing(await ask(api, "/span/collections", PAGE)) | sharing(reply)
    assert "set-cookie" not in reply.headers


async def test_core_08_a_client_that_is_no_browser_gets_no_sharing_headers(api: WebBench) -> None:
    reply = await api.call("GET", "/span/collections")

    assert sharing(reply) == {}
