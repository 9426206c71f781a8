"""RADIUS in a whole server: its ports, health and metrics, and what a restart keeps."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from span_events.fleet.devices.devices import DeviceChange
from span_events.metrics import exposition
from tests.bench.peers.radclient import ATTACH, SECRET, START, radclient
from tests.bench.servers import CAUSE, Running, running
from tests.bench.waiting import until

RADIUS: dict[str, Any] = {
    "port": 0,
    "accounting_port": 0,
    "nas": [{"name": "pgw1", "addresses": ["127.0.0.1"], "secret": SECRET}],
}
ADDRESS = "127.0.64.11"
"""Given by the mobile core; of this machine, so that a datagram can come from it."""
SESSION = START | {"Framed-IP-Address": ADDRESS}


def port(server: Running, name: str) -> int:
    """Return the port of a listener."""
    return int(server.server.addresses[name].rpartition(":")[2])


async def test_radius_is_off_without_a_configured_nas(tmp_path: Path) -> None:
    """No port is bound, and the log has the reason."""
    with capture_logs() as logs:
        async with running(tmp_path) as server:
            bound = set(server.server.addresses)

    assert bound.isdisjoint({"radius", "radius-accounting"})
    ((event, hint),) = [(each["event"], each["hint"]) for each in logs if "radius" in each["event"]]
    assert event == "radius_off"
    assert "[[radius.nas]]" in hint


async def test_attachments_survive_a_restart(tmp_path: Path) -> None:
    """The mobile core does not report them again; a datagram from the address is the device's."""
    async with running(tmp_path, radius=RADIUS) as server:
        collection = await server.collection()
        change = DeviceChange(imsi="242016000000001", imei="356938035643809")
        device = await server.server.fleet.devices.create(collection, change, cause=CAUSE)
        accept = await radclient(port(server, "radius"), "auth", ATTACH)
        response = await radclient(port(server, "radius-accounting"), "acct", SESSION)
    async with running(tmp_path, radius=RADIUS) as server:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.bind((ADDRESS, 0))
            client.sendto(b"hello", ("127.0.0.1", port(server, "datagrams")))
            known = server.server.fleet.directory.devices[device.id]
            await until(lambda: known.traffic.messages_upstream == 1)

    assert (accept.kind, response.kind) == ("Access-Accept", "Accounting-Response")
    assert known.ciot.allocated_ip == ADDRESS


async def test_a_restart_between_accept_and_start_assigns_no_address_twice(tmp_path: Path) -> None:
    """The mobile core may be about to use it."""
    settings: dict[str, Any] = {"radius": RADIUS, "cellular": {"pool": ["127.0.64.0/24"]}}
    later = ATTACH | {"3GPP-IMSI": '"242016000000002"', "3GPP-IMEISV": None}
    async with running(tmp_path, **settings) as server:
        collection = await server.collection()
        for imsi in ("242016000000001", "242016000000002"):
            await server.server.fleet.devices.create(collection, DeviceChange(imsi=imsi), cause=CAUSE)
        first = await radclient(port(server, "radius"), "auth", ATTACH)
    async with running(tmp_path, **settings) as server:
        second = await radclient(port(server, "radius"), "auth", later)
        again = await radclient(port(server, "radius"), "auth", ATTACH)

    given = [each.value("Framed-IP-Address") for each in (first, second, again)]
    assert given == ["127.0.64.1", "127.0.64.2", "127.0.64.1"]


async def test_health_and_metrics_include_radius(tmp_path: Path) -> None:
    """A failing registry is the reason for unanswered accounting."""
    async with running(tmp_path, radius=RADIUS) as server:
        with closing(sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)) as other:
            well = server.server.health()
            other.execute("ALTER TABLE cellular_sessions RENAME TO gone")
            reply = await radclient(port(server, "radius-accounting"), "acct", SESSION, seconds=0.3)
            await until(lambda: server.server.health()["radius-accounting"] != "ok")
            sick = server.server.health()
            other.execute("ALTER TABLE gone RENAME TO cellular_sessions")
        text = exposition(server.server.metrics)().decode()

    assert (well["radius"], well["radius-accounting"], reply.kind) == ("ok", "ok", "")
    assert sick["radius-accounting"].startswith("writing failed: ")
    assert 'span_events_radius_requests_total{outcome="accounted"} 1.0\n' in text
    assert "span_events_radius_unwritten_total 1.0\n" in text
    assert 'span_events_cellular_sessions{of="nobody"} 1.0\n' in text
