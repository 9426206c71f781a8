"""The streams in a browser: pages that open a WebSocket with a token in the URL, as browsers must."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.waiting import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHROMIUM: Final = "/usr/bin/chromium"
"""Debian's."""
QUIET: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
FOREIGN: Final = "pages.example"
"""A name that the browser finds at our web server."""
PAGE: Final = "<!doctype html><title>page</title>"
SCRIPT: Final = """
url => {
    window.seen = [];
    const ws = window.ws = new WebSocket(url);
    ws.onmessage = message => window.seen.push(message.data);
    return new Promise(resolve => {
        ws.onopen = () => resolve("open");
        ws.onclose = event => resolve(`closed ${event.code}`);
    });
}
"""
"""Opens a stream, and tells whether it opened."""
EVENT_SOURCE: Final = """
url => {
    window.seen = [];
    window.opened = 0;
    const source = window.source = new EventSource(url);
    for (const name of ["clientConnected", "upstreamMessage"])
        source.addEventListener(name, event => window.seen.push(event.data));
    return new Promise(resolve => { source.onopen = () => { window.opened += 1; resolve(); } });
}
"""
"""Opens a stream of Server-Sent Events, which the browser keeps open, and counts how often it opened."""
CHANGE: Final = """
async ([url, token]) => {
    const seen = await fetch(url, { headers: { "X-API-Token": token } })
    const headers = { "X-API-Token": token, "Content-Type": "application/json", "If-Match": seen.headers.get("ETag") }
    const change = () => fetch(url, { method: "PATCH", headers, body: '{"tags": {"by": "page"}, "tag": {}}' })
    const [first, second] = [await change(), await change()]
    return [first.status, first.headers.get("X-Warning"), second.status, (await second.json()).code]
}
"""
"""Changes a resource twice with the version that was seen first."""


class Pages(SimpleHTTPRequestHandler):
    """Serves the files of a folder, and says nothing about it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base class has it
        """Keep quiet."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """Serve a page at a port that is not the server's."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "page.html").write_text(PAGE)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=folder)) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder / "page.html", web.server_port
        web.shutdown()
        thread.join()


@asynccontextmanager
async def browser(*flags: str) -> AsyncIterator[Browser]:
    """Start a browser."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*QUIET, f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1", *flags]
        )
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """Start a browser as it comes."""
    async with browser() as chromium:
        yield chromium


@asynccontextmanager
async def empty_page(chromium: Browser) -> AsyncIterator[Page]:
    """Open a page that shares neither cookies nor cache with others."""
    async with await chromium.new_context() as context:
        page = await context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        yield page


@pytest_asyncio.fixture(loop_scope="module")
async def page(chromium: Browser) -> AsyncIterator[Page]:
    """Open an empty page."""
    async with empty_page(chromium) as page:
        yield page


def stream(server: LiveServer, device: LiveDevice, token: str) -> str:
    """Return the URL of a collection's activity, with the token in it."""
    return f"ws://{server.addresses['http']}/span/collections/{device.collection}/activity?api_token={token}"


async def check_events_come(page: Page, server: LiveServer, device: LiveDevice) -> None:
    """Let a page open a stream with a token that may only read, and its device send something."""
    token = await server.create_token(f"/collections/{device.collection}")
    assert await page.evaluate(SCRIPT, stream(server, device, token.text)) == "open"

    with closing(server.socket_at(device.address, "datagrams")) as sender:
        sender.send(b"hello")
    await page.wait_for_function("window.seen.length == 2")
    lines = await page.evaluate("window.seen")

    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines)
    assert [json.loads(line)["event"] for line in lines] == ["clientConnected", "upstreamMessage"]
    assert json.loads(lines[1])["deviceId"] == device.id


async def refusal(page: Page, url: str) -> str:
    """Let a page try to open a stream; return what the browser's console says about it."""
    async with page.expect_console_message(lambda message: "WebSocket" in message.text) as told:
        assert await page.evaluate(SCRIPT, url) == "closed 1006"
    return (await told.value).text


@pytest.mark.parametrize("origin", ["file", "another port", "the server itself"])
async def test_a_page_receives_events(
    server: LiveServer, device: LiveDevice, page: Page, pages: tuple[Path, int], origin: str
) -> None:
    """Wherever on this machine the page comes from, without any setting."""
    file, port = pages
    urls = {
        "file": file.as_uri(),
        "another port": f"http://127.0.0.1:{port}/page.html",
        "the server itself": f"http://{server.addresses['http']}/span/system",
    }
    await page.goto(urls[origin])

    await check_events_come(page, server, device)


async def test_a_page_without_an_origin_receives_events(server: LiveServer, device: LiveDevice) -> None:
    """A data: URL says ``Origin: null``."""
    # Chromium itself keeps such pages from this machine's servers; this is about what our server does.
    flag = "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets"
    async with browser(flag) as chromium, empty_page(chromium) as page:
        await page.goto(f"data:text/html,{PAGE}")

        assert await page.evaluate("window.origin") == "null"
        await check_events_come(page, server, device)


async def test_a_token_that_may_write_is_refused_in_a_url(
    server: LiveServer, device: LiveDevice, page: Page, pages: tuple[Path, int]
) -> None:
    """URLs end up in logs and histories."""
    await page.goto(pages[0].as_uri())

    assert "403" in await refusal(page, stream(server, device, server.token))


async def test_a_wrong_token_is_refused(
    server: LiveServer, device: LiveDevice, page: Page, pages: tuple[Path, int]
) -> None:
    """With 401, which Chromium puts into words of its own."""
    await page.goto(pages[0].as_uri())

    assert "Authentication failed" in await refusal(page, stream(server, device, "0123456789abcdef"))


async def test_a_page_of_a_foreign_origin_is_refused(
    server: LiveServer, device: LiveDevice, page: Page, pages: tuple[Path, int]
) -> None:
    """Even with a good token: a page on the web must not reach a server behind the visitor's firewall."""
    token = await server.create_token(f"/collections/{device.collection}")
    await page.goto(f"http://{FOREIGN}:{pages[1]}/page.html")

    assert await page.evaluate("location.origin") == f"http://{FOREIGN}:{pages[1]}"
    assert "403" in await refusal(page, stream(server, device, token.text))


async def test_a_page_of_an_allowed_origin_uses_the_api(
    server: LiveServer, device: LiveDevice, page: Page, pages: tuple[Path, int]
) -> None:
    """The browser asks before PATCH, and shows ETag and X-Warning to the page."""
    await page.goto(f"http://127.0.0.1:{pages[1]}/page.html")
    url = f"http://{server.addresses['http']}/span/collections/{device.collection}/devices/{device.id}"
    changed, warning, refused, code = await page.evaluate(CHANGE, [url, server.token])

    assert (changed, refused, code) == (200, 412, 9)
    assert warning.startswith("tag: there is no such field")


async def test_a_page_of_a_foreign_origin_cannot_use_the_api(
    server: LiveServer, device: LiveDevice, page: Page, pages: tuple[Path, int]
) -> None:
    """Not even with a good token, and without one neither health nor metrics."""
    await page.goto(f"http://{FOREIGN}:{pages[1]}/page.html")
    for path in ("/span/collections", "/metrics"):
        url = f"http://{server.addresses['http']}{path}"
        asked = f"fetch('{url}', {{ headers: {{ 'X-API-Token': '{server.token}' }} }}).catch(error => error.name)"

        assert await page.evaluate(asked) == "TypeError"


async def test_an_event_source_that_loses_its_connection_misses_nothing(
    server: LiveServer, device: LiveDevice, page: Page
) -> None:
    """The browser connects again by itself, and names the last event that it has seen."""
    host, _, port = server.addresses["http"].rpartition(":")
    connections: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(host, int(port))
        connections.extend((writer, to_server))
        await asyncio.gather(copy(reader, to_server), copy(from_server, writer))

    listening = await asyncio.start_server(relay, "127.0.0.1", 0)
    address = "{}:{}".format(*listening.sockets[0].getsockname())
    token = await server.create_token(f"/collections/{device.collection}")
    async with listening:
        await page.goto(f"http://{address}/span/system")
        path = f"/span/collections/{device.collection}/activity"
        await page.evaluate(EVENT_SOURCE, f"{path}?api_token={token.text}")
        with closing(server.socket_at(device.address, "datagrams")) as sender:
            sender.send(b"one")
            await page.wait_for_function("window.seen.length == 2")
            for each in connections:
                each.transport.abort()
            sender.send(b"two")  # while the page is away, or just back
            await page.wait_for_function("window.opened == 2")
            sender.send(b"three")
            await page.wait_for_function("window.seen.length >= 4")
        seen = [json.loads(each) for each in await page.evaluate("window.seen")]
        await page.evaluate("window.source.close()")

    assert [each["event"] for each in seen] == ["clientConnected", *["upstreamMessage"] * 3]
    assert len({each["data"]["messageId"] for each in seen[1:]}) == 3


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass octets on until one side ends."""
    with suppress(ConnectionError):
        while octets := await source.read(65536):
            target.write(octets)
        target.close()
