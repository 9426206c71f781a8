"""The metrics of a whole server: names as Prometheus wants them, and counts of what happened."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from span_events.bus.counts import EventCounts
from span_events.events.activity import UNATTRIBUTED
from span_events.events.catalogue import CATALOGUE, MessageRejected
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.metrics import exposition
from tests.bench.programs import find_program
from tests.bench.servers import Running, running
from tests.bench.waiting import until
from tests.listeners.radius.test_server import RADIUS

SAMPLE: Final = re.compile(r"^span_events_(\S+) (\S+)$", re.MULTILINE)


def samples(server: Running) -> dict[str, float]:
    """Read the metrics of a server, as a scrape does."""
    text = exposition(server.server.metrics)().decode()
    return {name: float(number) for name, number in SAMPLE.findall(text)}


def complaints(text: bytes) -> str:
    """Let promtool check names, units and types."""
    command = [find_program("promtool"), "check", "metrics"]
    return subprocess.run(
        command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    ).stdout.decode()


async def test_a_scrape_counts_events_messages_octets_and_writes(tmp_path: Path) -> None:
    """Promtool finds nothing to improve in it, with all listeners on."""
    async with running(tmp_path, radius=RADIUS, mqtt={"enabled": True, "port": 0}) as server:
        before = samples(server)
        host, _, port = server.server.addresses["datagrams"].rpartition(":")
        async with server.stream("/span/activity") as stream:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"hello", (host, int(port)))
                await stream.recv()
            server.receive(await server.device(await server.collection(), "127.0.9.9"), b"seven!!")
            await until(lambda: server.server.hub.delay.count > 1)
            after = samples(server)
        text = exposition(server.server.metrics)()

    assert complaints(text) == ""
    assert {name: after[name] - before[name] for name in EXPECTED} == EXPECTED
    assert after['registered{kind="device"}'] == 1
    assert after['part_healthy{part="radius-accounting"}'] == 1
    assert after['registry_write_duration_seconds_bucket{le="+Inf"}'] >= 3
    assert 0 < after["data_directory_free_bytes"] <= after["data_directory_size_bytes"]
    assert after["event_delivery_delay_seconds_count"] >= 2
    assert after['messages_rejected_total{reason="unknownAddress",transport="udp"}'] == 1


EXPECTED: Final = {
    'events_published_total{event="messageRejected",reason="unknownAddress"}': 1,
    'events_published_total{event="upstreamMessage",reason=""}': 1,
    'messages_received_total{transport="udp"}': 1,
    'messages_received_bytes_total{transport="udp"}': 7,
    'datagrams_received_total{listener="datagrams"}': 1,
    'datagrams_received_bytes_total{listener="datagrams"}': 5,
    'connections_accepted_total{listener="http"}': 1,
    "subscribers": 1,
}
"""Samples, and how much a datagram of a stranger, a message and a stream add to each."""


async def test_blobs_count_octets_and_handshakes_and_http_its_replies(tmp_path: Path) -> None:
    """A device that is known by its address uploads over HTTP."""
    async with running(tmp_path) as server, aiohttp.ClientSession() as http:
        await server.device(await server.collection(), "127.0.0.1")
        async with http.post(f"http://{server.server.addresses['blobs']}/x", data=b"b" * 5000) as reply:
            status = reply.status
        for path in ("/healthz", "/nothing"):
            await http.get(f"http://{server.http}{path}")
        await http.close()  # the connection counts at its end
        await until(lambda: samples(server)["blobs_received_bytes_total"] > 5000)
        found = samples(server)

    assert status == 200
    assert (found['http_replies_total{code="200"}'], found['http_replies_total{code="404"}']) == (1, 1)
    assert found['connections_accepted_total{listener="blobs"}'] == 1
    assert found["blobs_tls_handshake_duration_seconds_count"] == 0
    assert "blobs_handshake_duration_seconds_count" not in found


async def test_a_server_that_stops_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A balancer sends new clients elsewhere, while those under way are served."""
    seen = []
    async with running(tmp_path) as server:
        well = server.server.health()
        close = server.server.subscribers.streams.close

        async def look_and_close() -> None:
            async with aiohttp.ClientSession() as http:
                for path in ("/healthz", "/readyz"):
                    async with http.get(f"http://{server.http}{path}") as reply:
                        seen.append((reply.status, (await reply.json())["parts"].get("server")))
            await close()

        monkeypatch.setattr(server.server.subscribers.streams, "close", look_and_close)

    assert "server" not in well
    assert seen == [(200, "stops now"), (503, "stops now")]


async def test_a_registry_that_refuses_a_write_is_counted(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        collection = await server.collection()
        await server.device(collection)
        with pytest.raises(Exception, match="refuses"):
            await server.server.fleet.registry.store.delete_collection(collection.id)
        found = samples(server)

    assert found["registry_write_failures_total"] == 1


def test_promtool_complains_of_a_unit_that_is_no_base_unit() -> None:
    assert "milliseconds" in complaints(b"# HELP a_milliseconds Time.\n# TYPE a_milliseconds gauge\na_milliseconds 1\n")


def test_every_event_is_counted_by_the_reason_that_it_has() -> None:
    """All events with all their reasons begin at zero; the state of firmware counts as a reason."""
    counts = EventCounts()
    known = set(counts.by_labels())
    rejected = MessageRejected(
        origin=UNATTRIBUTED,
        reason=MessageRejectedReason.TOO_LARGE,
        remote_address="10.0.0.1:5",
        transport=Transport.UDP,
        bytes=1,
    )
    for _ in range(3):
        counts.add(rejected)

    assert {name for name, _ in known} == set(CATALOGUE)
    assert ("firmwareStateChange", "Updating") in known
    assert ("upstreamMessage", "") in known
    assert counts.by_labels()["messageRejected", "tooLarge"] == counts.total == 3


async def test_a_data_directory_that_cannot_be_written_is_named_by_health_and_metrics(tmp_path: Path) -> None:
    """The registry's open files work on, but no image, blob or certificate could be stored."""
    folder, away = tmp_path / "data", tmp_path / "away"
    async with running(folder) as server:
        well = samples(server)
        folder.rename(away)
        await server.clock.advance(11)
        await until(lambda: server.server.health()["files"] != "ok")
        ill, cause = samples(server), server.server.health()["files"]
        away.rename(folder)
        await server.clock.advance(11)
        await until(lambda: server.server.health()["files"] == "ok")

    assert (well['part_healthy{part="files"}'], ill['part_healthy{part="files"}']) == (1, 0)
    assert cause == f"failed: {folder}: cannot be written: No such file or directory"
    assert "data_directory_free_bytes" not in ill
