"""Clients of The Things Stack against a running server: the documented curl command, and gRPC."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE
from tests.web.things_stack.wire import Client, Refused, message_of, unpacked


async def documented(server: LiveServer, *identifiers: dict[str, Any]) -> asyncio.subprocess.Process:
    """Run the command of the original's documentation with another host, key and ids; into a pipe, so unbuffered."""
    return await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--no-buffer", f"http://{server.addresses['http']}/api/v3/events"),
        *("-X", "POST", "-H", f"Authorization: Bearer {server.token}", "-H", "Accept: text/event-stream"),
        *("--data", json.dumps({"identifiers": identifiers})),
        stdout=asyncio.subprocess.PIPE,
    )


async def frame(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Wait for a frame: an object, and an empty line."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        line, empty = await process.stdout.readline(), await process.stdout.readline()
    assert empty == b"\n"
    return dict(json.loads(line))


async def test_the_documented_command_follows_an_application_and_a_gateway(tmp_path: Path) -> None:
    """Events follow the first one; at the end of the server the stream ends with an error frame."""
    with LiveServer(tmp_path) as server:
        device = await server.add_device(await server.add_collection())
        gateway = await server.call("POST", f"/span/collections/{device.collection}/gateways", {})
        process = await documented(
            server,
            {"application_ids": {"application_id": device.collection}},
            {"gateway_ids": {"gateway_id": gateway["gatewayId"]}},
        )
        start = await frame(process)
        await server.coap_client(device.address, "-m", "post", "-e", "hello")
        found = [(await frame(process))["result"] for _ in range(2)]
        server.stop()
        end = await frame(process)
        await process.wait()

    assert start["result"]["name"] == "events.stream.start"
    assert [each["name"] for each in found] == ["as.end_device.connect", "as.up.data.forward"]
    assert found[1]["data"]["value"]["transport"] == "coap"
    assert end["error"]["message"] == "error:unknown:unknown (grpc: the client connection is closing)"
    assert process.returncode == 0


async def test_a_grpc_client_follows_a_device_and_is_cancelled_at_the_end(tmp_path: Path) -> None:
    with LiveServer(tmp_path) as server:
        device = await server.add_device(await server.add_collection())
        async with Client(server.addresses["things_stack"], server.token) as client:
            ids = {"device_id": device.id, "application_ids": {"application_id": device.collection}}
            stream = client.stream({"device_ids": ids})
            await stream.next()
            await server.coap_client(device.address, "-m", "post", "-e", "hello")
            message = await stream.until("as.up.data.forward")
            cause = next(each for each in message.correlation_ids if each.startswith("cause:"))
            related = await client.related(cause)
            server.stop()
            with pytest.raises(Refused) as ended:
                await stream.next()

    assert dict(unpacked(message.data).struct_value)["bytes"] == "5"
    assert [each.name for each in related] == ["as.end_device.connect", "as.up.data.forward"]
    assert ended.value.code is grpc.StatusCode.CANCELLED


async def test_a_grpc_stream_costs_little_memory(tmp_path: Path) -> None:
    """At most 64 KiB each, of 300, every one on a connection of its own."""
    with LiveServer(tmp_path) as server:
        collection = await server.add_collection()
        writers = [await _follow(server, collection) for _ in range(20)]
        before = server.memory_kib()
        writers += [await _follow(server, collection) for _ in range(300)]
        each = (server.memory_kib() - before) / 300
        for writer in writers:
            writer.close()

    print(f"{each:.1f} KiB a stream")  # noqa: T201
    assert each < 64


async def _follow(server: LiveServer, collection: str) -> asyncio.StreamWriter:
    """Open a stream by hand, and wait for its first event."""
    host, port = server.addresses["things_stack"].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    request = message_of("StreamEventsRequest")(identifiers=[{"application_ids": {"application_id": collection}}])
    octets = request.SerializeToString()
    connection = H2Connection(H2Configuration(client_side=True))
    connection.initiate_connection()
    headers = [
        *((":method", "POST"), (":scheme", "http"), (":path", "/ttn.lorawan.v3.Events/Stream"), (":authority", "x")),
        *(("content-type", "application/grpc"), ("te", "trailers"), ("authorization", f"bearer {server.token}")),
    ]
    connection.send_headers(1, headers)
    connection.send_data(1, bytes(1) + len(octets).to_bytes(4, "big") + octets, end_stream=True)
    writer.write(connection.data_to_send())
    received = b""
    async with asyncio.timeout(PATIENCE):
        while b"events.stream.start" not in received:
            received += await reader.read(65_536)
    return writer
