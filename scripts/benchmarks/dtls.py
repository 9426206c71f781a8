"""DTLS benchmark: handshakes, echo, CoAPS and memory per session, compared with a bare loop on pyOpenSSL; floods."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import struct
import time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from scripts.benchmarks.coap import PATH_X_AND_PAYLOAD
from scripts.benchmarks.harness import CLIENT_CORE, Options, Process, Table, server
from scripts.benchmarks.servers.dtls import PSK
from tests.bench.certificates import Holder
from tests.wire.dtls.client import DtlsClient

SERVERS = (("plain pyOpenSSL loop", "bare-dtls"), ("span-events", "dtls"))
HELLOS = 5_000
STOPPED = 2_000


async def run(options: Options) -> None:
    """Measure both types of clients on both servers, interleaved; then the floods on this project's server."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    count = int(500 * options.seconds)
    handshakes = {kind: Table(f"DTLS handshakes, {kind}, {count}", "per CPU second") for kind in ("certificate", "PSK")}
    memory = {kind: Table(f"memory of {count} sessions, {kind}", "octets each") for kind in handshakes}
    echoes = Table("DTLS echo of 64 octets, 16 sessions", "per CPU second")
    coaps = Table("CoAPS POST, CON, 16 sessions", "per CPU second")
    for _ in range(options.rounds):
        for kind, table in handshakes.items():
            for name, variant in SERVERS:
                async with server(variant, uvloop=options.uvloop) as started:
                    where = await started.answer()
                    clients = Clients(where, psk=kind == "PSK")
                    opened = await asyncio.to_thread(clients.open, 50)
                    cpu, rss = await cpu_of(started), started.rss_kb()
                    opened += await asyncio.to_thread(clients.open, count)
                    table.add(name, count / (await cpu_of(started) - cpu))
                    memory[kind].add(name, (started.rss_kb() - rss) * 1024 / count)
                    if kind == "certificate":
                        cpu = await cpu_of(started)
                        answered = await asyncio.to_thread(talk, opened[-16:], int(10_000 * options.seconds), echo)
                        echoes.add(name, answered / (await cpu_of(started) - cpu))
                        if variant == "dtls":
                            secured = await asyncio.to_thread(Clients(where, psk=False, port="coaps").open, 16)
                            cpu = await cpu_of(started)
                            answered = await asyncio.to_thread(talk, secured, int(5_000 * options.seconds), post)
                            coaps.add(name, answered / (await cpu_of(started) - cpu))
    for table in (*handshakes.values(), *memory.values(), echoes):
        table.show(base=SERVERS[0][0])
    coaps.show()
    await floods(options)


async def floods(options: Options) -> None:
    """Measure hellos that are never repeated, and clients that stop after the cookie."""
    async with server("dtls", uvloop=options.uvloop) as started:
        clients = Clients(await started.answer(), psk=False)
        await asyncio.to_thread(clients.open, 50)
        await asyncio.to_thread(clients.greet, 200)
        rss, cpu = started.rss_kb(), await cpu_of(started)
        await asyncio.to_thread(clients.greet, HELLOS)
        took = await cpu_of(started) - cpu
        grown = started.rss_kb() - rss
        print(f"\n{HELLOS} hellos without a second one: memory {grown:+,} kB, {took / HELLOS * 1e6:.0f} us each")
        rss = started.rss_kb()
        await asyncio.to_thread(clients.stop_after_cookie, STOPPED)
        began = time.perf_counter()
        await asyncio.to_thread(clients.open, 1)
        took = time.perf_counter() - began
        started.tell("")
        state = await started.answer()
        print(
            f"{STOPPED} clients that stop after the cookie: {state['half_open']} half-open, memory"
            f" {started.rss_kb() - rss:+,} kB; a good client is in after {took * 1e3:.0f} ms"
        )


async def cpu_of(started: Process) -> float:
    """Return the CPU seconds of a server."""
    started.tell("")
    answer: dict[str, Any] = await started.answer()
    return float(answer["cpu"])


class Session:
    """A socket with a DTLS client."""

    def __init__(self, dtls: DtlsClient, target: tuple[str, int]) -> None:
        self.dtls = dtls
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(target)
        self.socket.settimeout(5)
        self.number = 0

    def transmit(self, datagrams: list[bytes]) -> None:
        """Send datagrams."""
        for each in datagrams:
            self.socket.send(each)


class Clients:
    """Creates the clients of one server."""

    def __init__(self, where: dict[str, Any], *, psk: bool, port: str = "datagrams") -> None:
        host, _, number = where["addresses"][port].rpartition(":")
        self._target = (host, int(number))
        self._psk = psk
        leaf, intermediate, _root = x509.load_pem_x509_certificates(where["certificate"].encode())
        key: Any = load_pem_private_key(where["key"].encode(), None)
        self._holder = Holder(key, leaf, (intermediate,))

    def session(self) -> Session:
        """Create a client that has sent nothing yet."""
        dtls = (
            DtlsClient(psk=(PSK.identity, PSK.key), ciphers="PSK-AES128-CCM8:@SECLEVEL=0")
            if self._psk
            else DtlsClient(self._holder, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
        )
        return Session(dtls, self._target)

    def open(self, count: int) -> list[Session]:
        """Run a number of handshakes, one after another; return the last sessions."""
        opened = []
        for _ in range(count):
            session = self.session()
            session.transmit(session.dtls.start())
            while not session.dtls.established:
                session.transmit(session.dtls.step(session.socket.recv(65_535)))
                assert not session.dtls.failure, session.dtls.failure
            opened.append(session)
            if len(opened) > 16:
                opened.pop(0).socket.close()  # the server keeps the session
        return opened

    def greet(self, count: int) -> None:
        """Send a hello from each of a number of ports, and read the answers."""
        (hello,) = self.session().dtls.start()
        for _ in range(count):
            session = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            session.connect(self._target)
            session.settimeout(5)
            session.send(hello)
            session.recv(2048)
            session.close()

    def stop_after_cookie(self, count: int) -> None:
        """Repeat the hello with the cookie, then send nothing more."""
        for _ in range(count):
            session = self.session()
            session.transmit(session.dtls.start())
            session.transmit(session.dtls.step(session.socket.recv(65_535)))
            session.socket.recv(65_535)
            session.socket.close()


def echo(_number: int) -> bytes:
    """Return the payload of an echo."""
    return bytes(64)


def post(number: int) -> bytes:
    """Encode a POST."""
    return struct.pack("!BBHI", 0x44, 2, number & 0xFFFF, number) + PATH_X_AND_PAYLOAD


def talk(sessions: list[Session], count: int, request: Any) -> int:
    """Send a new request for each answer; return the number of answers."""
    sent = answered = 0
    with selectors.DefaultSelector() as selector:

        def send(session: Session) -> None:
            nonlocal sent
            session.transmit(session.dtls.send(request(sent)))
            sent += 1

        for each in sessions:
            each.socket.setblocking(False)
            selector.register(each.socket, selectors.EVENT_READ, each)
            send(each)
        while answered < count and (found := selector.select(2.0)):
            for key, _ in found:
                key.data.dtls.step(key.data.socket.recv(65_535))
                answered += len(key.data.dtls.received)
                key.data.dtls.received.clear()
                if sent < count:
                    send(key.data)
    return answered
