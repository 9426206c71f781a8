"""CoAP POST from socket to event and reply, compared with aiocoap's own server, per CPU second."""

from __future__ import annotations

import asyncio
import selectors
import socket
import struct

from scripts.benchmarks.harness import Options, Table, server

IN_FLIGHT = 64
WARM_UP = 500
PATH_X_AND_PAYLOAD = b"\xb1x\xfftemperature=21.5"


async def run(options: Options) -> None:
    """Measure confirmable and non-confirmable posts, interleaved."""
    requests = int(10_000 * options.seconds)
    for kind, word in ((0, "CON"), (1, "NON")):
        table = Table(f"CoAP POST, {word}, {IN_FLIGHT} in flight, {requests} requests", "per CPU second of the server")
        for _ in range(options.rounds):
            for name, variant in (("aiocoap, udp6", "aiocoap"), ("span-events", "quiet")):
                async with server(variant, uvloop=options.uvloop) as started:
                    where = await started.answer()
                    host, _, port = where["addresses"]["coap"].rpartition(":")
                    await asyncio.to_thread(post, (host, int(port)), kind, WARM_UP)
                    started.tell("")
                    before = (await started.answer())["cpu"]
                    answered = await asyncio.to_thread(post, (host, int(port)), kind, requests)
                    started.tell("")
                    table.add(name, answered / ((await started.answer())["cpu"] - before))
        table.show(base="aiocoap, udp6")


def post(target: tuple[str, int], kind: int, requests: int) -> int:
    """Send requests, the next one after each answer; return the number of answers."""
    sent = answered = 0
    with selectors.DefaultSelector() as selector:

        def send(client: socket.socket) -> None:
            nonlocal sent
            client.send(struct.pack("!BBHI", 0x44 | kind << 4, 2, sent & 0xFFFF, sent) + PATH_X_AND_PAYLOAD)
            sent += 1

        clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(IN_FLIGHT)]
        for client in clients:
            client.connect(target)
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ, client)
            send(client)
        while answered < requests and (ready := selector.select(2.0)):
            for key, _ in ready:
                code = key.data.recv(2048)[1]
                if code != 0x41:
                    raise RuntimeError(f"answered with {code >> 5}.{code & 31:02}")
                answered += 1
                if sent < requests:
                    send(key.data)
        for client in clients:
            client.close()
    return answered
