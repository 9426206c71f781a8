"""A raw HTTP client: what the server sent, octet by octet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.bench.waiting import PATIENCE
from tests.web.conftest import WebBench


def body_of(*identifiers: dict[str, Any], **fields: Any) -> bytes:
    """Write the body of a stream request."""
    return json.dumps({"identifiers": identifiers, **fields}).encode()


def application(identifier: str) -> dict[str, Any]:
    """Name an application."""
    return {"application_ids": {"application_id": identifier}}


def device(application_id: str, identifier: str) -> dict[str, Any]:
    """Name a device."""
    return {"device_ids": {"device_id": identifier, "application_ids": {"application_id": application_id}}}


def gateway(identifier: str) -> dict[str, Any]:
    """Name a gateway."""
    return {"gateway_ids": {"gateway_id": identifier}}


@dataclass
class Raw:
    """
    One request, and its reply as it comes.

    Args:
        token: Text of a token; the admin's if empty, none if None.
    """

    api: WebBench
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    token: str | None = ""
    method: str = "POST"
    path: str = "/api/v3/events"
    version: str = "1.1"
    accept: str | None = "text/event-stream"

    status: int = 0
    head: dict[str, str] = field(default_factory=dict)
    """The headers of the reply, names in lower case."""

    async def __aenter__(self) -> Self:
        host, port = self.api.url.removeprefix("http://").split(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        headers = {"Host": host, "Content-Length": str(len(self.body)), **self.headers}
        if self.accept is not None:
            headers["Accept"] = self.accept
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token or self.api.admin}")
        lines = [f"{self.method} {self.path} HTTP/{self.version}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        self._writer.write("\r\n".join(lines).encode() + self.body)
        async with asyncio.timeout(PATIENCE):
            status, *named = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(status.split()[1])
        self.head = {name.lower(): value for name, _, value in (each.partition(": ") for each in named if each)}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def chunk(self) -> bytes:
        """Wait for a chunk; the last one is empty."""
        async with asyncio.timeout(PATIENCE):
            size = int((await self._reader.readuntil(b"\r\n")).strip(), 16)
            octets = await self._reader.readexactly(size + 2)
        assert octets.endswith(b"\r\n")
        return octets[:-2]

    async def event(self) -> dict[str, Any]:
        """Wait for an event of a stream."""
        frame = json.loads(await self.chunk())
        assert list(frame) == ["result"]
        return dict(frame["result"])

    async def until(self, name: str) -> dict[str, Any]:
        """Wait for an event with a name."""
        while (found := await self.event())["name"] != name:
            pass
        return found

    async def rest(self) -> bytes:
        """Wait for the end of the connection or of the reply."""
        async with asyncio.timeout(PATIENCE):
            if "content-length" in self.head:
                return await self._reader.readexactly(int(self.head["content-length"]))
            return await self._reader.read()

    def send(self, octets: bytes) -> None:
        """Send more octets."""
        self._writer.write(octets)
