"""R3: requests that never end, and more connections than the server may have descriptors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.bystander import bystander
from tests.attacks.sockets import connect, receive, send
from tests.bench.live import LiveServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Run a server with short time limits and few connections."""
    settings = {
        "http.connections": 50,
        "http.header_timeout": 2.0,
        "http.min_rate": 1_000_000,
        "http.rate_window": 1.0,
    }
    with LiveServer(tmp_path, settings) as server:
        yield server


async def test_security_R3_half_requests_end_with_408(server: LiveServer) -> None:
    requests = (b"", b"GET / HTTP/1.1\r\nX", b"POST /span/system HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
    async with bystander(server) as seen:
        opened = [await connect(server) for _ in requests]
        for each, octets in zip(opened, requests, strict=True):
            await send(each, octets)
        replies = [await receive(each) for each in opened]
    for each in opened:
        each.close()

    seen.check()
    assert replies[0].startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert json.loads(replies[1].partition(b"\r\n\r\n")[2])["detail"].endswith("took over 2 s (http.header_timeout)")
    assert b"405" in replies[2] or b"401" in replies[2]
    await server.logged("reason=head")


async def test_security_R3_a_body_that_does_not_come_ends_with_408(server: LiveServer) -> None:
    opened = await connect(server)
    head = f"POST /span/collections HTTP/1.1\r\nHost: a\r\nX-API-Token: {server.token}\r\nContent-Length: 99\r\n\r\n{{"
    await send(opened, head.encode())
    reply = await receive(opened)
    opened.close()

    assert reply.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"(http.min_rate)" in reply
    await server.logged("reason=body")


async def test_security_R3_more_connections_than_the_bound_displace_the_oldest(server: LiveServer) -> None:
    async with bystander(server) as seen:
        opened = [await connect(server) for _ in range(200)]
        try:
            for each in opened:
                await send(each, b"GET / HTTP/1.1\r\nX")
            health = await server.request("GET", "/healthz", headers={})
            ended = await receive(opened[0])
        finally:
            for each in opened:
                each.close()

    seen.check()
    assert health.status == 200
    assert ended == b""
    await server.logged("reason=displaced")


async def test_security_R3_unfinished_bodies_of_strangers_keep_nobody_out(server: LiveServer) -> None:
    """A login needs no token, so anybody could hold all places with half a password."""
    head = b"POST /dejavu/v1/login HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n"
    opened = []
    async with bystander(server) as seen:
        for _ in range(50):
            opened.append(await connect(server))
            await send(opened[-1], head)
            await receive(opened[-1], b"100 Continue")
        health = await server.request("GET", "/healthz", headers={})
        ended = await receive(opened[0])
    for each in opened:
        each.close()

    seen.check()
    assert health.status == 200
    assert ended == b""
    await server.logged("reason=displaced")


async def test_security_R13_a_reply_that_nobody_reads_is_cut(server: LiveServer) -> None:
    collection = await server.add_collection()
    for number in range(20):
        body = {"tags": {str(tag): f"{number}" * 500 for tag in range(99)}}
        await server.call("POST", f"/span/collections/{collection}/devices", body)
    path = f"/span/collections/{collection}/devices"
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Token: {server.token}\r\n\r\n".encode()
    async with bystander(server) as seen:
        opened = [await connect(server, receive_buffer=4096) for _ in range(20)]
        for each in opened:
            await send(each, head * 10)
        await server.logged("reason=reply")
    for each in opened:
        each.close()

    seen.check()


async def test_security_R3_the_api_answers_again_after_the_descriptors_were_used_up(tmp_path: Path) -> None:
    with LiveServer(tmp_path, {"http.header_timeout": 1.0}, descriptors=120) as server:
        async with bystander(server) as seen:
            opened = [await connect(server) for _ in range(150)]
            await server.logged("accept_refused")
            await server.logged("reason=head")
            for each in opened:
                await receive(each)  # until the server has ended it, and its descriptor is free
            await server.call("GET", "/span/system")
            health = await server.request("GET", "/healthz", headers={})
        for each in opened:
            each.close()

    seen.check()
    assert "descriptors" in health.document["parts"]["http"]
