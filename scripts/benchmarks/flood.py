"""Sends 100,000 random and mutated datagrams to each port; checks the memory and that the server still answers."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from typing import Any

from scripts.benchmarks.harness import Options, Process, server

DATAGRAMS = 100_000
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
