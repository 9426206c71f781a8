"""Clients of The Things Stack against a running server: the documented curl command, and gRPC."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE
from tests.web.things_stack.wire import Client, Refused, unpacked


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
