"""Servers under test for gateways: this project's server, and a minimal server on grpc.aio."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from scripts.benchmarks.servers.serving import config_for, ready, say, told
from span_events.app import Server
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import render
from span_events.proto.gateway_pb2 import ControlStreamRequest
from span_events.registry.limits import MAX_ENTRIES, MAX_VALUE
from span_events.registry.model import Collection

LIGHT = "1,000 devices, a character each"
BLOCKS = {
    "16 devices, 64 KiB each": (16, MAX_ENTRIES, MAX_VALUE),
    "1,000 devices, 950 characters each": (1_000, 1, 950),
    LIGHT: (1_000, 1, 1),
}
"""Number of devices, parameters and characters of a value; the first two exceed the queue of a gateway."""
STALLED_AFTER = 4.0
"""Seconds; below the default, to shorten the benchmark."""
_LIMITS = {"port": 0, "stalled_after": STALLED_AFTER, "half_open_per_address": 2_000}


async def control(arguments: argparse.Namespace) -> None:
    """Serve gateways until killed; print counters for each line of input."""
    with tempfile.TemporaryDirectory() as folder:
        async with Server(config_for(gateways=_LIMITS), data_dir=Path(folder) / "data") as server:
            collection = await server.fleet.collections.create(CollectionChange())
            fleet = await _make_fleet(server, collection, Path(folder), arguments.count)
            if arguments.blocks:
                await _make_devices(server, collection, *BLOCKS[arguments.blocks])
            ready(server, collection.id, folder=folder, **fleet)
            listener = server.devices.gateways
            assert listener is not None
            while await told():
                queued = next(each for each in listener.metrics() if each.name == "gateways_queued_bytes")
                say(
                    cpu=time.process_time(),
                    published=server.bus.published,
                    queued=queued.value(),
                    online=len(server.fleet.gateway_sessions),
                    defects=listener.defects,
                )


async def _make_fleet(server: Server, collection: Collection, folder: Path, count: int) -> dict[str, list[str]]:
    """Create gateways with a device each, and write their files; return the ids."""
    fleet: dict[str, list[str]] = {"gateways": [], "devices": []}
    for number in range(count):
        gateway = await server.fleet.gateways.create(
            collection, GatewayChange(name=f"g{number}", params={"band": "868"})
        )
        block = {gateway.id: {"devEui": f"{number:016x}", "appKey": f"{number:032x}"}}
        device = await server.fleet.devices.create(collection, DeviceChange(gateways=block), cause=0)
        signed = await server.fleet.certificates.create(gateway)
        (folder / f"{number}.pem").write_bytes(signed.private_key_pem + signed.pem + signed.chain_pem)
        fleet["gateways"].append(render(gateway.id))
        fleet["devices"].append(render(device.id))
    return fleet


async def _make_devices(server: Server, collection: Collection, count: int, entries: int, size: int) -> None:
    """Put devices behind all gateways."""
    gateways = [each.id for each in server.fleet.directory.gateways_of(collection.id) if not each.built_in]
    params = {f"key{number}": "x" * size for number in range(entries)}
    for _ in range(count):
        await server.fleet.devices.create(collection, DeviceChange(gateways=dict.fromkeys(gateways, params)), cause=0)


async def bare(arguments: argparse.Namespace) -> None:
    """Return every message over grpc.aio, and do nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        async with Server(config_for(), data_dir=Path(folder) / "data") as server:  # only for its certificates
            collection = await server.fleet.collections.create(CollectionChange())
            fleet = await _make_fleet(server, collection, Path(folder), arguments.count)
            shown = server.authority.server_identity()
            echo = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
            echo.add_generic_rpc_handlers((_Handler(),))
            port = echo.add_secure_port(
                "127.0.0.1:0",
                grpc.ssl_server_credentials(
                    [(shown.key_pem, shown.certificates_pem)],
                    server.authority.root_pem + b"".join(server.authority.intermediates_pem()),
                    require_client_auth=True,
                ),
            )
            await echo.start()
            say(
                addresses={"gateways": f"127.0.0.1:{port}"},
                folder=folder,
                **fleet,
            )
            while await told():
                say(cpu=time.process_time())


class _Handler(grpc.GenericRpcHandler):
    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(
            _echo,
            request_deserializer=ControlStreamRequest.FromString,
            response_serializer=ControlStreamRequest.SerializeToString,
        )


async def _echo(requests: AsyncIterator[ControlStreamRequest], _context: Any) -> AsyncIterator[ControlStreamRequest]:
    async for each in requests:
        yield each
