"""The authority of nodes that share a registry: one root, and intermediates that every node knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from span_events.config import PkiConfig
from span_events.errors import StorageUnavailable
from span_events.pki import issuing
from span_events.pki.authority import Authority
from span_events.pki.issuing import KeyType
from span_events.registry.shared.secrets import SharedSecrets
from span_events.registry.store import Store
from tests.bench.authorities import open_authority
from tests.bench.clock import ManualClock

COLLECTION = 7


@pytest.fixture
def shared(shared_store: Store) -> SharedSecrets:
    """The secrets of an empty registry."""
    return shared_store.secrets(b"k" * 32)


async def join(shared: SharedSecrets, folder: Path) -> Authority:
    """Open the authority as a node does."""
    return await Authority.open(folder, PkiConfig(), ManualClock(), shared=shared)


async def test_nodes_that_start_at_once_have_one_root(shared: SharedSecrets, tmp_path: Path) -> None:
    """And accept each other's certificates, once they know the intermediate."""
    one, two = await asyncio.gather(join(shared, tmp_path / "one"), join(shared, tmp_path / "two"))
    told: list[bytes] = []
    two.on_intermediate.append(told.append)
    key = issuing.make_key(KeyType.EC)
    leaf = (await one.issue(COLLECTION, key.public_key(), name="d", unit="device")).certificate
    before = two.issuer_of(leaf)
    await two.refresh()
    await two.refresh()
    three = await join(shared, tmp_path / "three")

    assert one.root_pem == two.root_pem == three.root_pem
    assert before is None
    assert [each.issuer_of(leaf) for each in (one, two, three)] == [COLLECTION] * 3
    assert told == one.intermediates_pem()


async def test_two_nodes_make_one_intermediate(shared: SharedSecrets, tmp_path: Path) -> None:
    """The one that is second takes the other's."""
    one, two = await join(shared, tmp_path / "one"), await join(shared, tmp_path / "two")
    first, second = await asyncio.gather(one.chain_pem(COLLECTION), two.chain_pem(COLLECTION))

    assert first == second


async def test_the_authority_of_a_single_node_becomes_that_of_all(shared: SharedSecrets, tmp_path: Path) -> None:
    """Its devices keep their certificates; the folder of another authority is refused."""
    alone = await open_authority(tmp_path / "one")
    chain = await alone.chain_pem(COLLECTION)
    await join(shared, tmp_path / "one")
    two = await join(shared, tmp_path / "two")
    await Authority.open(tmp_path / "other", PkiConfig(), ManualClock())
    with pytest.raises(StorageUnavailable, match=r"root.pem: is not the root of the registry") as caught:
        await join(shared, tmp_path / "other")

    assert await two.chain_pem(COLLECTION) == chain
    assert f"Move {tmp_path / 'other'} away" in caught.value.hint


@pytest.mark.parametrize("common", ["registry", "folder"])
async def test_intermediates_are_listed_only_after_a_change(
    shared: SharedSecrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, common: str
) -> None:
    """Nodes look twice a second; with 20,000 of them, each list would cost 38 ms of CPU time."""
    listed: list[str] = []
    read, new_files = SharedSecrets.read, Authority._new_files

    async def read_counted(self: SharedSecrets, kind: str, known: Iterable[str] = ()) -> dict[str, bytes]:
        listed.append("registry")
        return await read(self, kind, known)

    def new_files_counted(self: Authority) -> dict[str, bytes]:
        listed.append("folder")
        return new_files(self)

    if common == "registry":
        one, two = await join(shared, tmp_path / "one"), await join(shared, tmp_path / "two")
    else:
        one, two = await open_authority(tmp_path / "one"), await open_authority(tmp_path / "one")
    monkeypatch.setattr(SharedSecrets, "read", read_counted)
    monkeypatch.setattr(Authority, "_new_files", new_files_counted)
    for _ in range(5):
        await two.refresh()
    at_rest = list(listed)
    await one.chain_pem(COLLECTION)
    for _ in range(5):
        await two.refresh()

    assert at_rest == [common] * 2
    assert listed == [common] * 4
    assert two.intermediates_pem() == one.intermediates_pem()
