"""Opening a registry: its file, its schema, and databases that cannot be used."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from span_events.errors import StorageUnavailable
from span_events.registry import tables
from span_events.registry.model import Blob, Certificate, Psk
from span_events.registry.store import Store
from tests.registry.rows import collection, gateway, image, url

SCHEMA_1 = """
CREATE TABLE about (schema INTEGER NOT NULL, PRIMARY KEY (schema));
CREATE TABLE collections (
    id BIGINT NOT NULL, team_id BIGINT NOT NULL, enabled BOOLEAN NOT NULL, current_firmware_id BIGINT NOT NULL,
    target_firmware_id BIGINT NOT NULL, management VARCHAR(16) NOT NULL, tags JSON NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE devices (
    id BIGINT NOT NULL, collection_id BIGINT NOT NULL, enabled BOOLEAN NOT NULL, imsi VARCHAR(15) NOT NULL,
    imei VARCHAR(16) NOT NULL, gateways JSON NOT NULL, tags JSON NOT NULL, firmware JSON NOT NULL, ciot JSON NOT NULL,
    inet JSON NOT NULL, last_gateway_id BIGINT NOT NULL, last_transport VARCHAR(16) NOT NULL,
    last_received_ns BIGINT NOT NULL, last_payload BLOB NOT NULL, PRIMARY KEY (id),
    FOREIGN KEY (collection_id) REFERENCES collections (id)
);
CREATE TABLE downstream (
    id BIGINT NOT NULL, device_id BIGINT NOT NULL, payload BLOB NOT NULL, created_ms BIGINT NOT NULL,
    sent_ms BIGINT NOT NULL, transport VARCHAR(16) NOT NULL, state VARCHAR(16) NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE tokens (
    id BIGINT NOT NULL, digest VARCHAR(64) NOT NULL, resource TEXT NOT NULL, write BOOLEAN NOT NULL, name TEXT NOT NULL,
    created_ms BIGINT NOT NULL, PRIMARY KEY (id), UNIQUE (digest)
);
INSERT INTO about VALUES (1);
INSERT INTO collections VALUES (1, 0, 1, 0, 0, 'disabled', '{}');
INSERT INTO devices VALUES (2, 1, 1, '24201', '', '{}', '{}', '{}', '{"allocated_ip":"10.0.0.1"}', '{}',
    0, 'udp', 0, x'00');
"""
"""A registry as the first release made it."""


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """Name a file; the store of these tests is in SQLite."""
    return url(tmp_path)


def modes(folder: Path) -> dict[str, int]:
    """Return the permissions of the files in a folder."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def versions(folder: Path) -> list[int]:
    """Return the schemas that a registry has had."""
    with sqlite3.connect(folder / "registry.sqlite") as connection:
        found = [row[0] for row in connection.execute("SELECT schema FROM about ORDER BY schema")]
    connection.close()
    return found


async def test_the_file_is_for_its_owner_alone(store: Store, tmp_path: Path) -> None:
    """The file holds digests of tokens and payloads of devices; so do its companions."""
    await store.put_collection(collection())

    assert modes(tmp_path) == {"registry.sqlite": 0o600, "registry.sqlite-wal": 0o600, "registry.sqlite-shm": 0o600}


async def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    """Also a file that another program created."""
    path = tmp_path / "registry.sqlite"
    path.touch(0o644)
    path.chmod(0o644)
    opened = Store(url(tmp_path))
    await opened.open()
    await opened.close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_two_processes_may_open_a_new_registry_at_once(tmp_path: Path) -> None:
    """Server and command line start together, and each writes while the other does."""
    stores = [Store(url(tmp_path)) for _ in range(4)]
    await asyncio.gather(*(each.open() for each in stores))
    await asyncio.gather(*(each.put_collection(collection(number)) for number, each in enumerate(stores, start=1)))
    contents = await stores[0].load()
    await asyncio.gather(*(each.close() for each in stores))

    assert [each.id for each in contents.collections] == [1, 2, 3, 4]


async def test_a_registry_of_the_release_before_is_taken_over(tmp_path: Path) -> None:
    """Schema 1 lacks all later tables and columns, and its addresses were set by hand. Its rows are kept."""
    with sqlite3.connect(tmp_path / "registry.sqlite") as connection:
        connection.executescript(SCHEMA_1)
    connection.close()
    opened = Store(url(tmp_path))
    await opened.open()
    owner, known = (await opened.load()).collections[0], (await opened.load()).devices[0]
    await opened.put_psk(known.id, Psk(b"pump", b"k" * 16))
    await opened.put_certificate(Certificate(5, owner.id, known.id, None, 1, 2))
    await opened.put_gateways([gateway(owner)])
    await opened.put_image(image(6, owner))
    await opened.put_blob(Blob(7, owner.id, known.id, 0, "text/plain", 1, 1))
    await opened.close()
    await opened.open()
    contents = await opened.load()
    await opened.close()

    assert [each.psk for each in contents.devices] == [Psk(b"pump", b"k" * 16)]
    assert contents.devices[0].config.imsi == "24201"
    assert (contents.devices[0].ciot.allocated_ip, contents.devices[0].ciot.static_ip) == ("10.0.0.1", "10.0.0.1")
    assert [each.serial for each in contents.certificates] == [5]
    assert [each.name for each in contents.gateways] == ["Dach"]
    assert [each.id for each in contents.images] == [6]
    assert [each.id for each in contents.blobs] == [7]
    assert versions(tmp_path) == [1, tables.SCHEMA]


async def test_a_newer_registry_is_not_touched(tmp_path: Path) -> None:
    """Not a table is added to it."""
    with sqlite3.connect(tmp_path / "registry.sqlite") as connection:
        connection.executescript("CREATE TABLE about (schema INTEGER PRIMARY KEY); INSERT INTO about VALUES (99);")
    connection.close()
    opened = Store(url(tmp_path))
    with pytest.raises(StorageUnavailable, match="a newer release wrote it"):
        await opened.open()
    with sqlite3.connect(tmp_path / "registry.sqlite") as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    connection.close()

    assert names == ["about"]
    assert versions(tmp_path) == [99]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("sqlite+aiosqlite:///{folder}/none/registry.sqlite", "there is no directory {folder}/none"),
        ("sqlite+aiosqlite:///{folder}", "it is not a file"),
        ("sqlite:///{folder}/registry.sqlite", "not async"),
        ("mysql+aiomysql://user:hunter2@127.0.0.1/x", "needs a driver"),
        ("nonsense://user:hunter2@x", "not an SQLAlchemy URL"),
        ("hunter2", "not an SQLAlchemy URL"),
    ],
)
async def test_a_database_that_cannot_be_used_is_explained(tmp_path: Path, address: str, text: str) -> None:
    """With the cause, and never with the password."""
    store = Store(address.format(folder=tmp_path))
    with pytest.raises(StorageUnavailable) as caught:
        await store.open()

    assert text.format(folder=tmp_path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    """The name of the file is in the message."""
    (tmp_path / "registry.sqlite").write_bytes(b"something else" * 100)
    store = Store(url(tmp_path))

    with pytest.raises(StorageUnavailable, match=r"registry\.sqlite cannot be used: file is not a database"):
        await store.open()


async def test_a_closed_store_raises_an_error(store: Store) -> None:
    """Closing twice does nothing."""
    await store.close()
    await store.close()

    with pytest.raises(StorageUnavailable, match="is not open"):
        await store.load()
