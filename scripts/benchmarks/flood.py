"""
Sends 100,000 random and mutated datagrams to each UDP port, and 100,000 mutated packets to MQTT.

Checks the memory and that the server still answers.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from scripts.benchmarks.harness import Options, Process, server
from scripts.benchmarks.mqtt import join
from tests.fuzz.test_mqtt import mutated
from tests.web.mqtt.client import connect_packet, packet, text

DATAGRAMS = 100_000
_AT_ONCE = 100
VALID = struct.pack("!BBHI", 0x44, 2, 1, 1) + b"\xb1x\xfftemperature=21.5"


async def run(options: Options) -> None:
    """Send garbage from a known and from an unknown address; measure the memory in between."""
    async with server("quiet", uvloop=options.uvloop) as started:
        where = await started.answer()
        print(f"\nFlood of {DATAGRAMS} random or mutated datagrams")
        for port in ("datagrams", "coap"):
            for source, word in (("127.0.0.1", "known"), ("127.0.0.2", "unknown")):
                grown = []
                for _ in range(2):
                    before = started.rss_kb()
                    await asyncio.to_thread(_flood, where["addresses"][port], source)
                    grown.append((started.rss_kb() - before) / 1024)
                print(f"  {port:<10} {word:<8} sender: memory {grown[0]:+.1f} MB, again {grown[1]:+.1f} MB", flush=True)
        print(f"  {await _still_answers(started, where)}")
        print(f"\nFlood of {DATAGRAMS} mutated MQTT packets, {len(_packets(''))} in a connection after a CONNECT")
        for word, token in (("known", where["token"]), ("unknown", "0" * 64)):
            grown = []
            for _ in range(2):
                before = started.rss_kb()
                await asyncio.to_thread(_flood_mqtt, where["addresses"]["mqtt"], token)
                grown.append((started.rss_kb() - before) / 1024)
            print(f"  {word:<8} token: memory {grown[0]:+.1f} MB, again {grown[1]:+.1f} MB", flush=True)
        with join(where["addresses"]["mqtt"], "*", where["token"], "#"):
            print(f"  {await _still_answers(started, where)}; MQTT grants a subscription")


def _packets(name: str) -> list[bytes]:
    """Return packets of a client that is connected."""
    subscribe = packet(0x82, b"\0\7" + text("activity/+/+/upstreamMessage") + b"\0" + text("#") + b"\0")
    return [subscribe, b"\xc0\0", packet(0xA2, b"\0\7" + text("#")), packet(0x30, text(name) + b"hello"), b"\xe0\0"]


def _flood_mqtt(address: str, token: str) -> None:
    generator = random.Random(1883)  # the same packets each time
    host, _, port = address.rpartition(":")
    sent = 0
    while sent < DATAGRAMS:
        clients = [socket.create_connection((host, int(port))) for _ in range(_AT_ONCE)]
        for number, client in enumerate(clients):
            packets = _packets(f"{sent}/1")
            head = connect_packet("*", token, level=4, client_id=f"c{number}")
            with suppress(OSError):
                client.sendall(head + mutated(packets, generator))
                client.shutdown(socket.SHUT_WR)
            sent += len(packets)
        for client in clients:
            with client, suppress(OSError):
                while client.recv(4096):
                    pass


def _flood(address: str, source: str) -> None:
    generator = random.Random(7)  # the same garbage each time
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        sender.connect((host, int(port)))
        for number in range(DATAGRAMS):
            if number % 2:
                datagram = generator.randbytes(generator.randrange(80))
            else:
                mutated = bytearray(VALID)
                struct.pack_into("!H", mutated, 2, number // 2 & 0xFFFF)
                mutated[generator.randrange(len(mutated))] = generator.randrange(256)
                datagram = bytes(mutated)
            sender.send(datagram)
            if number % 64 == 0:
                time.sleep(0.001)  # let the server keep up: datagrams that the kernel drops test nothing


async def _still_answers(started: Process, where: dict[str, Any]) -> str:
    started.tell("")
    counters = await started.answer()
    host, _, port = where["addresses"]["coap"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.connect((host, int(port)))
        client.send(struct.pack("!BBHI", 0x44, 2, 0xFFFE, 99) + VALID[8:])
        code = client.recv(100)[1]
    return (
        f"{counters['datagrams']} and {counters['coap']} datagrams taken, {counters['defects']} defects; "
        f"a POST afterwards is answered with {code >> 5}.{code & 31:02}"
    )
