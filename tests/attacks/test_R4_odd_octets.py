"""R4: octets over 127 in any header: refused or ignored, never a failure of the server."""

from __future__ import annotations

from typing import Final

import pytest

from tests.attacks.bystander import bystander
from tests.attacks.sockets import connect, receive, send
from tests.bench.live import LiveServer

HEADERS: Final = (
    *("Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Length"),
    *("Content-Type", "Cookie", "Expect", "Forwarded", "Host", "If-Match", "If-Modified-Since", "If-None-Match"),
    *("Origin", "Range", "Sec-WebSocket-Extensions", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol"),
    *("Sec-WebSocket-Version", "Transfer-Encoding", "Upgrade", "X-API-Token", "X-Forwarded-For", "X-Odd"),
)
STREAM: Final = {
    "Host": b"a",
    "Upgrade": b"websocket",
    "Connection": b"Upgrade",
    "Sec-WebSocket-Version": b"13",
    "Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing", "/span/collections", "/span/activity"])
async def test_security_R4_odd_octets_in_a_header_are_no_failure(server: LiveServer, path: str) -> None:
    replies = {}
    async with bystander(server) as seen:
        for header in HEADERS:
            for value in (b"\xff", b"\xc3\xa9", b"13\xff", b"dGhlIHNhbXBsZSBub25jZQ==\xff", b"\x80, \x81;q=\xff"):
                opened = await connect(server)
                lines = STREAM if path == "/span/activity" else {"Host": b"a", "Connection": b"close"}
                lines = lines | {"X-API-Token": server.token.encode()} | {header: value}
                head = b"".join(b"%b: %b\r\n" % (name.encode(), text) for name, text in lines.items())
                await send(opened, b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), head))
                replies[header, value] = await receive(opened, b"\r\n")
                opened.close()

    seen.check()
    assert {key: reply for key, reply in replies.items() if not b"1" <= reply[9:10] <= b"4"} == {}
    assert "Traceback" not in server.log


async def test_security_R4_an_unknown_expectation_is_a_problem(server: LiveServer) -> None:
    opened = await connect(server)
    await send(opened, b"GET / HTTP/1.1\r\nHost: a\r\nExpect: \xff\r\nConnection: close\r\n\r\n")
    reply = await receive(opened)
    opened.close()

    assert reply.startswith(b"HTTP/1.1 417 Expectation Failed\r\n")
    assert b"application/problem+json" in reply


async def test_security_R13_chunks_in_http_1_0_are_refused(server: LiveServer) -> None:
    opened = await connect(server)
    await send(opened, b"POST /span/collections HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    reply = await receive(opened)
    opened.close()

    assert reply.split(b" ")[1] == b"400"
    assert b"HTTP/1.0 has no transfer codings" in reply
