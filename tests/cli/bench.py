"""Test equipment of the command line: a runner, and an API with prepared replies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web
from click.testing import CliRunner, Result

from span_events.cli.commands import cli

COLLECTION = "17dh0cf43jfgl8"
DEVICE = "17kl14hm46h4c2"
MESSAGE = "17kl1b3c9d4e20"
TOKEN = "5eed" * 16


async def run(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
    """Run a command in a thread of its own, so that servers of this test can answer it."""
    names = ("API_ENDPOINT", "API_TOKEN", "COLLECTION_ID", "DEVICE_ID", "GATEWAY_ID")
    clean = dict.fromkeys((f"SPAN_{each}" for each in names), None)
    return await asyncio.to_thread(
        CliRunner().invoke, cli, list(arguments), input=stdin, env={**clean, **(env or {})}, catch_exceptions=False
    )


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived."""

    method: str
    path: str
    body: Any
    token: str | None


class Api:
    """A server with recorded replies in Span's shape; anything else is 404."""

    def __init__(self, replies: dict[str, Any] | None = None) -> None:
        self.replies = replies or {}
        """``"GET /span/collections"`` to a document, or to (status, document or octets)."""
        self.hooks: dict[str, Callable[[], Awaitable[Any]]] = {}
        """Awaited before a reply; a returned value replaces it."""
        self.calls: list[Call] = []
        self.url = ""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def run(self, *arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
        """Run a command against this server."""
        return await run("--endpoint", self.url, "--token", TOKEN, *arguments, stdin=stdin, env=env)

    @property
    def last(self) -> Call:
        """The last request."""
        return self.calls[-1]

    async def _answer(self, request: web.Request) -> web.Response:
        octets = await request.read()
        self.calls.append(
            Call(
                request.method,
                request.path,
                orjson.loads(octets) if octets else None,
                request.headers.get("X-API-Token"),
            )
        )
        missing = (404, problem(404, f"There is nothing at {request.path}"))
        what = f"{request.method} {request.path}"
        reply = (await self.hooks[what]() if what in self.hooks else None) or self.replies.get(what, missing)
        status, document = reply if isinstance(reply, tuple) else (200, reply)
        if isinstance(document, bytes):
            return web.Response(status=status, body=document, content_type="text/html")
        kind = "application/json" if status < 300 else "application/problem+json"
        return web.Response(status=status, body=orjson.dumps(document), content_type=kind)


def problem(status: int, detail: str, hint: str = "", field: str = "") -> dict[str, Any]:
    """Make the body of a refusal."""
    advice = {name: text for name, text in (("hint", hint), ("field", field)) if text}
    return {"title": f"{status}: {detail}", "status": status, "detail": detail, "message": detail} | advice


def device(**changes: Any) -> dict[str, Any]:
    """Make a device as the API shows it."""
    return {
        "deviceId": DEVICE,
        "collectionId": COLLECTION,
        "tags": {"name": "pump-3"},
        "firmware": {"currentFirmwareId": "0", "targetFirmwareId": "0", "state": "Current"},
        "config": {"ciot": {"imsi": "242016000000123", "imei": "0"}},
        "metadata": {"ciot": {"allocatedIp": "10.0.0.17"}},
        "lastTransport": "coap",
        "lastReceived": "1715070269492894739",
        "lastPayload": "aGVsbG8=",
        "enabled": True,
        **changes,
    }
