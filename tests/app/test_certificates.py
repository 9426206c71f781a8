"""The authority and the registry of certificates in a whole server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from span_events.app import Server
from span_events.config import Config
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Psk
from tests.bench.clock import ManualClock
from tests.bench.ports import FREE
from tests.bench.servers import running
from tests.bench.waiting import answered
from tests.listeners.blobs.bench import serial_shown, write_credentials

DAY = 86_400


@asynccontextmanager
async def started(folder: Path, clock: ManualClock) -> AsyncIterator[Server]:
    """Run a server; unlike `running`, also one that was there before."""
    async with Server(Config(**FREE), data_dir=folder, clock=clock) as server:
        yield server


async def test_a_restart_forgets_no_certificate_and_no_key(tmp_path: Path) -> None:
    """Identities are found by serial number and by PSK identity as before; so is what was revoked."""
    async with started(tmp_path, ManualClock()) as server:
        collection = await server.fleet.collections.create(CollectionChange())
        device = await server.fleet.devices.create(collection, DeviceChange(), cause=1)
        valid, revoked = [(await server.fleet.certificates.create(device)).record for _ in range(2)]
        await server.fleet.certificates.revoke(collection, revoked.serial)
        await server.fleet.psks.put(device, Psk(b"pump", b"k" * 16), cause=1)
        root = server.authority.root_pem
    async with started(tmp_path, ManualClock()) as again:
        found = again.fleet.directory.certificate_with(revoked.serial)
        owner = again.fleet.directory.device_with_psk(b"pump")

        assert again.authority.root_pem == root
        assert again.fleet.directory.certificate_with(valid.serial) == valid
        assert found is not None
        assert found.revoked_ms
        assert owner is not None
        assert (owner.id, owner.psk) == (device.id, Psk(b"pump", b"k" * 16))


async def test_a_start_removes_certificates_that_expired_long_ago(tmp_path: Path) -> None:
    """And renews what the server shows of itself."""
    async with started(tmp_path, ManualClock()) as server:
        collection = await server.fleet.collections.create(CollectionChange())
        device = await server.fleet.devices.create(collection, DeviceChange(), cause=1)
        await server.fleet.certificates.create(device)
        shown = server.authority.server_identity()
    later = ManualClock()
    later.shift(61 * DAY)
    async with started(tmp_path, later) as again:
        assert again.fleet.directory.certificates == {}
        assert again.authority.server_identity().period.end > shown.period.end


async def shown_to_gateways(server: Server) -> bytes:
    """Shake hands as a gateway, and return the server's certificate."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the server's clock is not this computer's
    host, _, port = server.addresses["gateways"].rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    assert isinstance(shown, bytes)
    return shown


async def test_a_renewed_certificate_is_presented_to_gateways(tmp_path: Path) -> None:
    """From the next connection on, without a restart."""
    clock = ManualClock()
    async with started(tmp_path, clock) as server:
        before = await shown_to_gateways(server)
        clock.shift(61 * DAY)
        await server.node.reload()

        assert await shown_to_gateways(server) != before


async def test_the_port_for_blobs_shows_a_renewed_certificate_at_once(tmp_path: Path) -> None:
    """While it is open, and to clients whose intermediate was made after it was opened."""
    async with running(tmp_path, pki={"server_validity": 120.0}) as it:
        address = it.server.addresses["blobs_tls"]
        device = await it.device(await it.collection())
        credentials = write_credentials(tmp_path, await it.server.fleet.certificates.create(device))
        before = await serial_shown(address, credentials)
        await it.clock.advance(95.0)
        after = await answered(lambda: serial_shown(address, credentials), lambda serial: serial != before)

        assert after != before


async def test_certificates_are_counted(tmp_path: Path) -> None:
    """For whoever watches the watcher."""
    async with started(tmp_path, ManualClock()) as server, aiohttp.ClientSession() as http:
        collection = await server.fleet.collections.create(CollectionChange())
        device = await server.fleet.devices.create(collection, DeviceChange(), cause=1)
        record = (await server.fleet.certificates.create(device)).record
        await server.fleet.certificates.revoke(collection, record.serial)
        async with http.get(f"http://{server.addresses['http']}/metrics") as reply:
            lines = (await reply.text()).splitlines()

    assert {
        "span_events_certificates 1.0",
        "span_events_certificates_issued_total 1.0",
        "span_events_certificates_revoked_total 1.0",
        "span_events_certificates_expiring_total 0.0",
    } <= set(lines)
