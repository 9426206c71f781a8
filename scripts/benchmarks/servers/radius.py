"""The RADIUS servers under test: this project's, and a bare loop on the same codec."""

from __future__ import annotations

import argparse
import asyncio
import socket
import tempfile
import time
from pathlib import Path

from scripts.benchmarks.servers.serving import config_for, ready, say, told
from span_events.app import Server
from span_events.registry.location import database_url
from span_events.registry.model import Collection, Device, DeviceConfig
from span_events.registry.store import Store
from span_events.wire.radius.attributes_3gpp import read
from span_events.wire.radius.packets import (
    Attribute,
    Code,
    RadiusRequest,
    Verdict,
    accept,
    accounting_response,
    decode,
    settings_of,
    verify,
)
from tests.wire.radius.building import SECRET

DEVICES = 2_000
POOL = "10.64.0.0/16"
_RADIUS = {
    "port": 0,
    "accounting_port": 0,
    "nas": [{"name": "pgw1", "addresses": ["127.0.0.1"], "secret": SECRET.decode()}],
}


def imsi(number: int) -> str:
    """Return the IMSI of a device."""
    return f"24201{number:010}"


def imeisv(number: int) -> str:
    """Return the IMEISV of a device."""
    return f"{number:014}01"


async def core(_arguments: argparse.Namespace, *, new: bool = False) -> None:
    """
    Serve the devices of a mobile core until killed; print counters for each line of input.

    Args:
        new: Treat all devices as new: the quarantine is too short to keep the last address of a device.
    """
    rest = {"quarantine": 1.0} if new else {}
    config = config_for(radius=_RADIUS, cellular={"pool": [POOL]} | rest)
    with tempfile.TemporaryDirectory() as folder:
        collection = await _register(database_url(config.registry, Path(folder)))
        async with Server(config, data_dir=Path(folder)) as server:
            ready(server, collection.id)
            while await told():
                metrics = {each.name: each.value() for each in server.metrics()}
                say(
                    outcomes=metrics["radius_requests"],
                    published=metrics["events_published"],
                    defects=metrics["radius_defects"],
                    cpu=time.process_time(),
                )


async def _register(url: str) -> Collection:
    """Write all devices into a new registry."""
    store, collection = Store(url), Collection(1)
    await store.open()
    await store.put_collection(collection)
    await store.put_devices(
        [Device(2 + each, collection, config=DeviceConfig(imsi(each), imeisv(each))) for each in range(DEVICES)]
    )
    await store.close()
    return collection


async def bare(_arguments: argparse.Namespace, *, reads: bool = False) -> None:
    """Decode and verify every request, and answer with the same reply; optionally decode the identity, too."""
    settings = settings_of(dns=(), interim_interval=600)

    def answer(request: RadiusRequest) -> bytes:
        if request.code == Code.ACCOUNTING_REQUEST:
            return accounting_response(request)
        return accept(request, address="10.64.0.1", prefix="", class_=bytes(16), settings=settings)

    def take() -> None:
        for _ in range(256):
            try:
                datagram, remote = opened.recvfrom(65_535)
            except BlockingIOError:
                return
            request = decode(datagram, SECRET)
            if verify(request) is Verdict.PROVEN:
                if reads:
                    read(request.values(Attribute.VENDOR_SPECIFIC))
                opened.sendto(answer(request), remote)

    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    opened.bind(("127.0.0.1", 0))
    asyncio.get_running_loop().add_reader(opened.fileno(), take)
    address = f"127.0.0.1:{opened.getsockname()[1]}"
    say(addresses={"radius": address, "radius-accounting": address}, token="", path="/")
    while await told():
        say(cpu=time.process_time(), published=0)
