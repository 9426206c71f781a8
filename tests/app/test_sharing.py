"""Two servers that share a registry in PostgreSQL and a bus."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import make_url

from span_events.app import Server
from span_events.config import BusConfig, CellularConfig, Config, PkiConfig, RegistryConfig
from span_events.errors import StorageUnavailable
from span_events.events.activity import Activity
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from tests.bench.clock import ManualClock
from tests.bench.peers.nats import NatsServer, nats_server
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.ports import FREE
from tests.bench.waiting import PATIENCE, until
from tests.fleet.cellular.reports import IMSI, seen


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """Run a bus."""
    async with nats_server(tmp_path) as server:
        yield server


def config_of(url: str, nats: NatsServer, folder: Path, **others: Any) -> Config:
    """Return the settings of a node."""
    (folder / "secret").write_bytes(base64.b64encode(b"s" * 36))
    shared = {
        "registry": RegistryConfig(url=url),
        "bus": BusConfig(url=nats.url),
        "pki": PkiConfig(secret_file=str(folder / "secret")),
    }
    return Config(**FREE, **shared | others)


async def test_two_servers_share_everything(tmp_path: Path, postgresql: PostgresqlServer, nats: NatsServer) -> None:
    """Numbers differ, keys and tokens are common, and a change through one is served by the other at once."""
    url = await postgresql.new_schema()
    config = config_of(url, nats, tmp_path)
    async with (
        Server(config, data_dir=tmp_path / "one") as one,
        Server(config, data_dir=tmp_path / "two") as two,
        aiohttp.ClientSession(headers={"X-API-Token": one.first_token or ""}) as http,
    ):
        async with http.post(f"http://{one.addresses['http']}/span/collections", json={}) as reply:
            made = (await reply.json())["collectionId"]
        await until(lambda: len(two.fleet.directory.collections) == 1)
        async with http.get(f"http://{two.addresses['http']}/span/collections/{made}") as reply:
            served = reply.status, (await reply.json())["collectionId"]
        numbers = {one.node.identifiers.node, two.node.identifiers.node}
        roots = {one.node.authority.root_pem, two.node.authority.root_pem}
        await until(lambda: one.node.store.leader.leads or two.node.store.leader.leads)
        alone = Config(**FREE, registry=RegistryConfig(url=url))
        with pytest.raises(StorageUnavailable, match="is in use by another server") as refused:
            await Server(alone, data_dir=tmp_path / "three").__aenter__()
        (tmp_path / "wrong").write_bytes(b"w" * 48)
        wrong = config_of(url, nats, tmp_path, pki=PkiConfig(secret_file=str(tmp_path / "wrong")))
        with pytest.raises(StorageUnavailable, match=r"pki\.secret_file is not the one"):
            await Server(wrong, data_dir=tmp_path / "four").__aenter__()

    assert served == (200, made)
    assert numbers == {0, 1}
    assert len(roots) == 1
    assert two.first_token is None
    assert "Several share one only with bus.url" in refused.value.hint


async def test_the_leader_regards_what_another_server_has_heard(
    tmp_path: Path, postgresql: PostgresqlServer, nats: NatsServer
) -> None:
    """It asks over NATS before it publishes clientSilent; the other server publishes nothing."""
    cellular, clock = CellularConfig(silent_after=1.0), ManualClock()
    url = await postgresql.new_schema()
    config = config_of(url, nats, tmp_path, cellular=cellular)
    async with (
        Server(config, data_dir=tmp_path / "one", clock=clock) as one,
        Server(config, data_dir=tmp_path / "two", clock=clock) as two,
    ):
        servers = (one, two)
        silent: list[tuple[bool, Activity]] = []
        for each in servers:
            each.bus.listen(activities=partial(note_silence, silent, each))
        await until(lambda: any(leads(each) for each in servers))
        other, leader = sorted(servers, key=leads)
        table = f"{make_url(url).username}.nodes"
        # The clock stands still, so nobody renews the leases.
        await postgresql.execute(f"UPDATE {table} SET leased_until = now() + interval '1 hour'")
        async with asyncio.timeout(PATIENCE):
            while not await leader.fleet.others.lives(other.node.store.node):  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.01)
        collection = await one.fleet.collections.create(CollectionChange())
        devices = []
        for number in "12":
            numbers = DeviceChange(imsi=IMSI[:-1] + number)
            devices.append(await one.fleet.devices.create(collection, numbers, cause=1))
            address = f"10.64.0.{number}"
            one.fleet.cellular.accounting.start(
                seen(session=number, address=address, imsi=devices[-1].config.imsi, imei="")
            )
            await one.fleet.cellular.commit()
        await until(lambda: two.fleet.directory.device_at("10.64.0.2") is not None)
        heard = other.fleet.directory.devices[devices[0].id]
        other.fleet.reception.rejections.rejected(
            MessageRejectedReason.TOO_LARGE, device=heard, remote=("10.64.0.1", 4), transport=Transport.UDP
        )
        await clock.advance(2)
        await until(lambda: bool(silent))

    assert [(led, each.event.origin.device_id) for led, each in silent] == [(True, devices[1].id)]


def leads(server: Server) -> bool:
    """Return whether a server is the leader."""
    return server.node.store.leader.leads


def note_silence(silent: list[tuple[bool, Activity]], server: Server, activity: Activity) -> None:
    """Note clientSilent, and whether the leader published it."""
    if activity.event.name == "clientSilent":
        silent.append((leads(server), activity))


async def test_servers_that_start_at_the_same_moment_make_one_first_token(
    tmp_path: Path, postgresql: PostgresqlServer, nats: NatsServer
) -> None:
    """Of three, one shows it."""
    config = config_of(await postgresql.new_schema(), nats, tmp_path)
    async with AsyncExitStack() as stack:
        servers = [Server(config, data_dir=tmp_path / name) for name in ("one", "two", "three")]
        await asyncio.gather(*map(stack.enter_async_context, servers))
        made = [each.first_token for each in servers if each.first_token]
        counts = {len(each.tokens) for each in servers}

    assert len(made) == 1
    assert counts == {1}


async def test_nodes_without_common_keys_are_refused(
    tmp_path: Path, postgresql: PostgresqlServer, nats: NatsServer
) -> None:
    """The devices of one would not trust the other; a common folder is enough, and its new intermediates are seen."""
    config = config_of(await postgresql.new_schema(), nats, tmp_path, pki=PkiConfig())
    async with (
        Server(config, data_dir=tmp_path / "one") as one,
        Server(config, data_dir=tmp_path / "one") as beside,
    ):
        chain = await one.node.authority.chain_pem(7)
        await until(lambda: beside.node.authority.intermediates_pem() == one.node.authority.intermediates_pem())
        with pytest.raises(StorageUnavailable, match="pki: is not the authority of the other nodes") as refused:
            await Server(config, data_dir=tmp_path / "two").__aenter__()

    assert chain.startswith(one.node.authority.intermediates_pem()[0])
    assert "Set pki.secret_file on all nodes" in refused.value.hint
