"""A WebSocket server that plays a script: one entry for each connection, in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from span_events import ids
from tests.cli.bench import COLLECTION, DEVICE, problem


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the handshake with a status and a problem body."""

    status: int
    detail: str = "no"
    hint: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class Play:
    """Send frames, then close (1006 breaks the connection without a close frame). Callables are awaited."""

    frames: Sequence[str | bytes | Callable[[], Awaitable[None]]] = ()
    code: int = 1001
    reason: str = ""
    date: str = "Fri, 20 Nov 2026 11:00:00 GMT"
    hold: bool = False
    """True to keep the connection open until the client closes it."""


@dataclass(slots=True)
class Scripted:
    """The server; a context manager. Beyond the script's end, everything is refused with 404."""

    script: list[Refuse | Play] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """Tag ``name`` of devices, for requests of the REST API."""
    documents: dict[str, Any] = field(default_factory=dict)
    """Replies to other requests, by path; a callable returns a document or a `Refuse`."""
    requests: list[tuple[str, list[tuple[str, str]], str | None]] = field(default_factory=list)
    """Path, query and token of each stream that was asked for."""
    lookups: list[str] = field(default_factory=list)
    """Paths of the REST requests."""
    _server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._play, "127.0.0.1", 0, process_request=self._before, process_response=self._date, server_header=None
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """URL of the API."""
        assert self._server is not None
        host, port = next(iter(self._server.sockets)).getsockname()
        return f"http://{host}:{port}"

    def _before(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        if not parts.path.endswith("/activity"):
            self.lookups.append(parts.path)
            if parts.path in self.documents:
                return self._reply(connection, self.documents[parts.path])
            name = self.names.get(parts.path.rpartition("/")[2])
            device = {"tags": {"name": name}} if name else problem(404, "There is no such device")
            return _response(connection, 200 if name else 404, device)
        self.requests.append((parts.path, parse_qsl(parts.query), request.headers.get("X-API-Token")))
        step = self.script[0] if self.script else Refuse(404, "The script is over.")
        if isinstance(step, Refuse):
            del self.script[:1]
            body = problem(step.status, step.detail, step.hint, step.field)
            return _response(connection, step.status, body)
        return None

    def _reply(self, connection: ServerConnection, document: Any) -> Response:
        found = document() if callable(document) else document
        if isinstance(found, Refuse):
            return _response(connection, found.status, problem(found.status, found.detail, found.hint, found.field))
        return _response(connection, 200, found)

    def _date(self, connection: ServerConnection, request: Request, response: Response) -> None:
        if self.script and isinstance(self.script[0], Play):
            del response.headers["Date"]
            response.headers["Date"] = self.script[0].date

    async def _play(self, connection: ServerConnection) -> None:
        step = self.script.pop(0)
        assert isinstance(step, Play)
        for frame in step.frames:
            await (frame() if callable(frame) else connection.send(frame))
        if step.hold:
            await connection.wait_closed()
        if step.code == 1006:
            connection.transport.abort()
        else:
            await connection.close(step.code, step.reason)


def event(name: str = "upstreamMessage", *, number: int | None = None, **fields: Any) -> str:
    """Make a line as the server sends it; with a ``number``, an extended one."""
    document: dict[str, Any] = {
        "collectionId": COLLECTION,
        "data": {"bytes": "9", "transport": "coap"},
        "deviceId": DEVICE,
        "event": name,
        "time": "2026-11-20 11:00:00",
    }
    if number is not None:
        document |= {"id": identifier(number), "severity": "info", "hint": "The message is in the inbox."}
    return orjson.dumps(document | fields, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()


def identifier(number: int) -> str:
    """Return the id of an event so many milliseconds after 11:00 UTC."""
    return ids.render(ids.first_at(1_795_172_400_000 + number))


def _response(connection: ServerConnection, status: int, body: object) -> Response:
    response = connection.respond(HTTPStatus(status), orjson.dumps(body).decode())
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/problem+json" if status >= 300 else "application/json"
    return response
