"""
The servers under test, each in a process of its own: this project's, and bare programs on libraries.

``span`` is this project's whole server with a publisher. `serving` has the lines that a server exchanges with the
benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from scripts.benchmarks.servers.serving import HIGH, all_low, config_for, measured, ready, say, told, tune
from span_events import log
from span_events.app import Server
from span_events.dialects.span import PLAIN
from span_events.events.activity import Activity, Origin, SpanId
from span_events.events.catalogue import UpstreamMessage
from span_events.events.message import Transport
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import IdGenerator, render
from span_events.registry.model import Management
from span_events.wire.websocket import text_frame

# ---- this project ----------------------------------------------------------------------------


async def span(arguments: argparse.Namespace) -> None:
    """Publish event values through bus, history and hub to real WebSockets."""
    config = config_for(fanout={"max_linger_ms": arguments.linger})
    with tempfile.TemporaryDirectory() as folder:
        async with Server(config, data_dir=Path(folder)) as server:
            collection = await server.fleet.collections.create(CollectionChange())
            device = await server.fleet.devices.create(collection, DeviceChange(), cause=0)
            ready(server, collection.id)
            await told()
            publish, origin, identifiers = server.bus.publish, device.origin, server.node.identifiers
            transports = [each.sink for each in server.hub]

            async def work() -> int:
                for _ in range(arguments.batch):
                    publish(_message(origin, identifiers))
                await asyncio.sleep(0)
                if server.hub.buffered:
                    await all_low(transports)
                return arguments.batch * len(transports)

            before = server.hub.dropped
            await measured(work, arguments.seconds)
            assert server.hub.dropped == before, "the closed loop dropped events"


async def forms(arguments: argparse.Namespace) -> None:
    """Publish to one collection after the other, in turns of a moment; print events and CPU seconds of each."""
    config = config_for(fanout={"max_linger_ms": 0.0})
    with tempfile.TemporaryDirectory() as folder:
        async with Server(config, data_dir=Path(folder)) as server:
            collections = [await server.fleet.collections.create(CollectionChange()) for _ in range(arguments.count)]
            devices = [await server.fleet.devices.create(each, DeviceChange(), cause=0) for each in collections]
            ready(server, collections[0].id, collections=[render(each.id) for each in collections])
            await told()
            transports = [each.sink for each in server.hub]
            size = len(transports) // len(devices)
            done, cpu = [0] * len(devices), [0.0] * len(devices)
            ends = time.perf_counter() + arguments.seconds * len(devices)
            while time.perf_counter() < ends:
                for index, device in enumerate(devices):
                    began, turn = time.process_time(), time.perf_counter() + _TURN
                    while time.perf_counter() < turn:
                        for _ in range(arguments.batch):
                            server.bus.publish(_message(device.origin, server.node.identifiers))
                        await asyncio.sleep(0)
                        done[index] += size * arguments.batch
                        if server.hub.buffered:
                            await all_low(transports)
                    cpu[index] += time.process_time() - began
                    await all_low(transports)
            assert not server.hub.dropped, "the closed loop dropped events"
            say(rates=[events / seconds for events, seconds in zip(done, cpu, strict=True)])


def _message(origin: Origin, identifiers: IdGenerator) -> UpstreamMessage:
    """Return the event of a received message, with the ids that every such event has."""
    identifier = identifiers.next(time.time_ns())
    return UpstreamMessage(
        origin=origin, correlation_id=identifier, bytes=9, transport=Transport.UDP, message_id=SpanId(identifier)
    )


_TURN = 0.05
"""Seconds of a turn (forms): so short that all have the same share of a busy machine."""


async def quiet(_arguments: argparse.Namespace) -> None:
    """Serve one device at 127.0.0.1 until killed; print counters for each line of input."""
    with tempfile.TemporaryDirectory() as folder:
        async with Server(config_for(), data_dir=Path(folder)) as server:
            collection = await server.fleet.collections.create(CollectionChange())
            await server.fleet.devices.create(collection, DeviceChange(allocated_ip="127.0.0.1"), cause=0)
            ready(server, collection.id)
            while await told():
                assert server.devices.datagrams
                assert server.devices.coap
                say(
                    datagrams=server.devices.datagrams.received,
                    coap=server.devices.coap.endpoint.received,
                    delivered=server.hub.delivered,
                    dropped=server.hub.dropped,
                    buffered=server.hub.buffered,
                    defects=server.devices.datagrams.defects + server.devices.coap.defects,
                    cpu=time.process_time(),
                )


async def firmware(_arguments: argparse.Namespace) -> None:
    """Serve an image to a fleet until killed; print counters for each line of input."""
    from scripts.benchmarks.firmware import DEVICES, IMAGE, address_of  # noqa: PLC0415  # the module is a client, too

    with tempfile.TemporaryDirectory() as folder:
        async with Server(config_for(), data_dir=Path(folder)) as server:
            collection = await server.fleet.collections.create(CollectionChange())
            async with server.fleet.images.upload(collection) as upload:
                await upload.write(random.Random(7).randbytes(IMAGE))
                image = await server.fleet.images.create(collection, upload, version="2", cause=0)
            change = CollectionChange(management=Management.COLLECTION, target_firmware_id=image.id)
            await server.fleet.collections.update(collection, change, cause=0)
            for number in range(DEVICES):
                await server.fleet.devices.create(collection, DeviceChange(allocated_ip=address_of(number)), cause=0)
            ready(server, collection.id, sha256=image.sha256)
            while await told():
                say(blocks=server.fleet.firmware.downloads.blocks, cpu=time.process_time())


async def steady(arguments: argparse.Namespace) -> None:
    """Publish at a fixed rate until killed; print counters for each line of input."""
    config = config_for(fanout={"max_linger_ms": arguments.linger})
    with tempfile.TemporaryDirectory() as folder:
        async with Server(config, data_dir=Path(folder)) as server:
            collection = await server.fleet.collections.create(CollectionChange())
            device = await server.fleet.devices.create(collection, DeviceChange(), cause=0)
            ready(server, collection.id)

            async def publish() -> None:
                began, done = time.perf_counter(), 0
                while True:
                    due = int((time.perf_counter() - began) * arguments.rate)
                    for _ in range(due - done):
                        now = time.clock_gettime_ns(time.CLOCK_REALTIME)
                        server.bus.publish(
                            UpstreamMessage(
                                origin=device.origin, bytes=now, transport=Transport.UDP, message_id=SpanId(done)
                            )
                        )
                    done = due
                    await asyncio.sleep(0.001)

            task = asyncio.create_task(publish())
            while await told():
                say(delivered=server.hub.delivered, dropped=server.hub.dropped, buffered=server.hub.buffered)
            task.cancel()


_BACKLOG = 16 << 20
"""Octets that may wait for all clients together before the publisher pauses (storm)."""


async def storm(arguments: argparse.Namespace) -> None:
    """
    Publish numbered events from a line of input to the next, over a history of some length.

    At a fixed rate, unless the clients of a busy machine read less: then they are waited for.
    """
    events = {"history_per_collection": arguments.history, "history_octets": 1 << 30}
    fanout = {"max_linger_ms": arguments.linger, "subscriber_buffer": 4 << 20}
    config = config_for(fanout=fanout, events=events)
    with tempfile.TemporaryDirectory() as folder:
        async with Server(config, data_dir=Path(folder)) as server:
            collection = await server.fleet.collections.create(CollectionChange())
            device = await server.fleet.devices.create(collection, DeviceChange(), cause=0)
            ready(server, collection.id)
            done = 0

            async def publish() -> None:
                nonlocal done
                due, last = 0.0, time.perf_counter()
                while True:
                    now = time.perf_counter()
                    due, last = min(due + (now - last) * arguments.rate, arguments.rate / 10), now
                    while due >= 1 and server.hub.buffered < _BACKLOG:
                        due -= 1
                        done += 1
                        server.bus.publish(UpstreamMessage(origin=device.origin, bytes=done, transport=Transport.UDP))
                    await asyncio.sleep(0.001)

            await told()
            began, cpu = time.perf_counter(), time.process_time()
            task = asyncio.create_task(publish())
            await told()
            task.cancel()
            seconds = time.perf_counter() - began
            say(published=done, rate=done / seconds, cpu=time.process_time() - cpu)
            await told()


# ---- plain programs --------------------------------------------------------------------------


def line() -> str:
    """Return an event of a typical size."""
    event = UpstreamMessage(origin=_ORIGIN, bytes=9, transport=Transport.UDP, message_id=SpanId(_ID))
    return PLAIN.encode(Activity(_ID, 0, event)).decode()


_ID = 1_571_000_000_000_000_000
_ORIGIN = Origin(_ID, _ID)


async def plain_aiohttp(arguments: argparse.Namespace) -> None:
    """Serve with aiohttp: await ``send_str`` for each subscriber and event."""
    from aiohttp import web  # noqa: PLC0415  # the other servers do not pay for it

    sockets: list[web.WebSocketResponse] = []

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        assert request.transport
        tune(request.transport)
        sockets.append(ws)
        async for _ in ws:
            pass
        return ws

    await serve_aiohttp(handler)
    text = line()

    async def work() -> int:
        for _ in range(arguments.batch):
            for ws in sockets:
                await ws.send_str(text)
        await asyncio.sleep(0)
        return arguments.batch * len(sockets)

    await measured(work, arguments.seconds)


async def bare_write(arguments: argparse.Namespace) -> None:
    """Write one prepared frame to each transport: the upper bound of programs on asyncio's transports."""
    from aiohttp import web  # noqa: PLC0415

    transports: list[asyncio.Transport] = []

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        assert request.transport
        tune(request.transport)
        request.transport.set_write_buffer_limits(high=1 << 30)
        transports.append(request.transport)
        async for _ in ws:
            pass
        return ws

    await serve_aiohttp(handler)
    frame = text_frame(line().encode())

    async def work() -> int:
        data = b"".join([frame] * arguments.batch)
        behind = False
        for transport in transports:
            transport.write(data)
            behind = behind or transport.get_write_buffer_size() > 0
        await asyncio.sleep(0)
        if behind:
            await all_low(transports)
        return arguments.batch * len(transports)

    await measured(work, arguments.seconds)


async def serve_aiohttp(handler: Callable[[Any], Awaitable[Any]]) -> None:
    """Serve a handler at / on a free port, print the address, and wait for the subscribers."""
    from aiohttp import web  # noqa: PLC0415

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    bound = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, bound).start()
    say(addresses={"http": f"127.0.0.1:{bound.getsockname()[1]}"}, token="", path="/")
    await told()


async def plain_websockets(arguments: argparse.Namespace) -> None:
    """Serve with websockets: call ``broadcast`` for each event."""
    from websockets.asyncio.server import ServerConnection, broadcast, serve  # noqa: PLC0415

    connections: list[ServerConnection] = []

    async def handler(connection: ServerConnection) -> None:
        tune(connection.transport)
        connections.append(connection)
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        say(addresses={"http": f"127.0.0.1:{port}"}, token="", path="/")
        await told()
        text = line()
        transports = [each.transport for each in connections]

        async def work() -> int:
            for _ in range(arguments.batch):
                broadcast(connections, text)
            await asyncio.sleep(0)
            if any(each.get_write_buffer_size() > HIGH for each in transports):
                await all_low(transports)
            return arguments.batch * len(connections)

        await measured(work, arguments.seconds)


async def bare_udp(_arguments: argparse.Namespace) -> None:
    """Read datagrams by ``add_reader`` and ``recv``, and discard them."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    opened.bind(("127.0.0.1", 0))
    count = 0

    def take() -> None:
        nonlocal count
        try:
            for _ in range(256):
                opened.recv(2048)
                count += 1
        except BlockingIOError:
            pass

    asyncio.get_running_loop().add_reader(opened.fileno(), take)
    say(addresses={"datagrams": f"127.0.0.1:{opened.getsockname()[1]}"}, token="", path="/")
    while await told():
        say(datagrams=count, cpu=time.process_time())


async def plain_aiocoap(_arguments: argparse.Namespace) -> None:
    """Answer POST with 2.01 by aiocoap's server on its default UDP transport."""
    import aiocoap  # noqa: PLC0415
    from aiocoap.resource import Resource, Site  # noqa: PLC0415

    class Sink(Resource):  # type: ignore[misc]  # aiocoap ships no types
        async def render_post(self, _request: Any) -> Any:
            return aiocoap.Message(code=aiocoap.CREATED)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site = Site()
    site.add_resource(["x"], Sink())
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])
    say(addresses={"coap": f"127.0.0.1:{port}"}, token="", path="/")
    while await told():
        say(cpu=time.process_time())


def _dtls_servers() -> Any:
    from scripts.benchmarks.servers import dtls  # noqa: PLC0415  # the other servers do not pay for it

    return dtls


def _radius_servers() -> Any:
    from scripts.benchmarks.servers import radius  # noqa: PLC0415  # likewise

    return radius


def _gateway_servers() -> Any:
    from scripts.benchmarks.servers import gateways  # noqa: PLC0415  # likewise

    return gateways


VARIANTS = {
    "span": span,
    "forms": forms,
    "quiet": quiet,
    "firmware": firmware,
    "steady": steady,
    "storm": storm,
    "aiohttp": plain_aiohttp,
    "websockets": plain_websockets,
    "bare-write": bare_write,
    "bare-udp": bare_udp,
    "aiocoap": plain_aiocoap,
    "dtls": lambda arguments: _dtls_servers().secure(arguments),
    "bare-dtls": lambda arguments: _dtls_servers().bare(arguments),
    "gateways": lambda arguments: _gateway_servers().control(arguments),
    "bare-grpc": lambda arguments: _gateway_servers().bare(arguments),
    "radius": lambda arguments: _radius_servers().core(arguments),
    "radius-new": lambda arguments: _radius_servers().core(arguments, new=True),
    "bare-radius": lambda arguments: _radius_servers().bare(arguments),
    "reading-radius": lambda arguments: _radius_servers().bare(arguments, reads=True),
}


def main() -> None:
    """Run one server until it has measured, or until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--batch", type=int, default=1, help="events published in one tick")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--linger", type=float, default=5.0, help="fanout.max_linger_ms")
    parser.add_argument("--rate", type=float, default=1000.0, help="events a second (steady)")
    parser.add_argument("--history", type=int, default=1000, help="events.history_per_collection (storm)")
    parser.add_argument("--count", type=int, default=1, help="gateways that there are")
    parser.add_argument("--blocks", default="", help="what devices behind all gateways are configured with")
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    log.configure("error", "console")
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if arguments.uvloop:
        import uvloop  # noqa: PLC0415  # an extra

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(VARIANTS[arguments.variant](arguments))


if __name__ == "__main__":
    main()
