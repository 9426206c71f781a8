"""What the store keeps, in which order, and how it fails."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
import stat
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.errors import Conflict, StorageUnavailable
from span_events.events.message import Transport
from span_events.registry import tables
from span_events.registry.model import (
    Attachment,
    Blob,
    Certificate,
    CiotMetadata,
    Collection,
    CollectionFirmware,
    Device,
    DeviceConfig,
    Downstream,
    DownstreamState,
    FirmwareMetadata,
    Gateway,
    GatewayMetadata,
    GatewayType,
    Image,
    InetMetadata,
    Management,
    Psk,
    Token,
)
from span_events.registry.store import Store

HIGH = (1 << 63) - 1
"""The largest id that there can be."""


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


def url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'registry.sqlite'}"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    opened = Store(url(tmp_path))
    await opened.open()
    yield opened
    await opened.close()


def collection(identifier: int = 1) -> Collection:
    return Collection(identifier, 7, {"name": "Måling"}, CollectionFirmware(3, HIGH, Management.DEVICE), enabled=False)


def device(owner: Collection, identifier: int = HIGH) -> Device:
    return Device(
        identifier,
        owner,
        {"name": "a\u2028b", "empty": ""},
        DeviceConfig("242016000000001", "350000000000001", {HIGH: {"devEui": "00"}, 3: {"a": "b"}}),
        FirmwareMetadata(1, 2, "1.0", "sn", "mn", "maker", "Pending", "waits"),
        CiotMetadata(
            *(3, "10.0.0.1", 1714076616000, "cell", 242, 1, "Norway", "Telenor", "NO", 5, "24201", "35"),
            *("2001:db8::/64", "10.0.0.2", "10.0.0.3", "2001:db8:1::/64"),
        ),
        InetMetadata(4, 6, "10.0.0.2:1", "99"),
        enabled=False,
        last_gateway_id=3,
        last_transport=Transport.COAP,
        last_received_ns=1715070269492894739,
        last_payload=b"\x00\xff",
        gateway=GatewayMetadata(HIGH, 1714076616000, {"rssi": "-90"}),
    )


def gateway(owner: Collection, identifier: int = HIGH) -> Gateway:
    return Gateway(
        identifier,
        owner,
        GatewayType.LORA,
        "Dach",
        {"region": "EU868"},
        {"name": "Måling"},
        enabled=False,
        reported={"version": "1.0"},
        reported_ms=1714076616000,
    )


def message(owner: Device, identifier: int = 9) -> Downstream:
    return Downstream(identifier, owner.id, b"\x00down", 5, 6, Transport.UDP, DownstreamState.SENT)


def attachment(owner: Device | None, identifier: int = HIGH) -> Attachment:
    return Attachment(
        *(identifier, "pgw1", "192.0.2.10", "C0000201A0000001", owner, 1714076616000),
        *("242016000000001", "356938035643809", "mda.test", "10.0.0.1", "2001:db8::/64", HIGH),
    )


def values(item: object) -> dict[str, object]:
    """Return everything of a value but what is in memory only."""
    in_memory = ("traffic", "upstream_ms", "downstream_ms", "is_online")
    names = [name for name in type(item).__slots__ if name not in in_memory]  # type: ignore[attr-defined]  # slots=True
    return {name: getattr(item, name) for name in names if name != "collection"}


def modes(folder: Path) -> dict[str, int]:
    """Return the permissions of the files in a folder."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_another_store_on_the_same_file_sees_everything(store: Store, tmp_path: Path) -> None:
    """Every field survives, also the largest ids, and text and octets of any kind."""
    owner = collection()
    written = device(owner)
    await store.put_collection(owner)
    await store.put_devices([written])
    await store.put_downstream([message(written)])
    again = Store(url(tmp_path))
    await again.open()
    contents = await again.load()
    await again.close()

    assert [values(each) for each in contents.collections] == [values(owner)]
    assert [values(each) for each in contents.devices] == [values(written)]
    assert contents.devices[0].collection is contents.collections[0]
    assert contents.downstream == [message(written)]


async def test_writing_again_changes_what_is_there(store: Store) -> None:
    """Put is insert or update."""
    owner = collection()
    written = device(owner)
    await store.put_collection(owner)
    await store.put_devices([written])
    owner.tags["name"] = "new"
    written.config.gateways.clear()
    written.last_payload = b"second"
    await store.put_collection(owner)
    await store.put_devices([written])
    contents = await store.load()

    assert contents.collections[0].tags == {"name": "new"}
    assert [each.last_payload for each in contents.devices] == [b"second"]
    assert contents.devices[0].config.gateways == {}


async def test_a_batch_of_any_size_is_written(store: Store) -> None:
    """Also of none; a batch is cut for the driver but is one transaction."""
    owner = collection()
    await store.put_collection(owner)
    await store.put_devices([])
    await store.put_devices([device(owner, each) for each in range(1, 1002)])
    await store.delete_downstream([])

    assert [each.id for each in (await store.load()).devices] == list(range(1, 1002))


async def test_rows_are_taken_before_the_first_wait(store: Store) -> None:
    """What changes while a write waits for its turn belongs to the next write."""
    owner = collection()
    await store.put_collection(owner)
    written = device(owner)
    writing = asyncio.ensure_future(store.put_devices([written]))
    await asyncio.sleep(0)
    written.tags["name"] = "later"
    written.ciot.allocated_ip = "10.0.0.99"
    await writing
    (found,) = (await store.load()).devices

    assert found.tags["name"] == "a\u2028b"
    assert found.ciot.allocated_ip == "10.0.0.1"


async def test_a_batch_does_not_bring_a_deleted_device_back(store: Store) -> None:
    """Writes happen in the order in which they were asked for."""
    owner = collection()
    await store.put_collection(owner)
    written = device(owner)
    await asyncio.gather(store.put_devices([written]), store.put_devices([written]), store.delete_device(written.id))

    assert (await store.load()).devices == []


async def test_a_write_goes_on_when_its_caller_is_cancelled(store: Store, tmp_path: Path) -> None:
    """And closing the store waits for it."""
    writing = asyncio.ensure_future(store.put_collection(collection()))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await store.close()
    again = Store(url(tmp_path))
    await again.open()
    contents = await again.load()
    await again.close()

    assert [each.id for each in contents.collections] == [1]


async def test_a_deleted_device_takes_its_messages_along(store: Store) -> None:
    """Those of other devices stay."""
    owner = collection()
    gone, stays = device(owner, 1), device(owner, 2)
    await store.put_collection(owner)
    await store.put_devices([gone, stays])
    await store.put_downstream([message(gone, 10), message(stays, 11), message(stays, 12)])
    await store.delete_device(gone.id)
    await store.delete_downstream([12, 13])
    contents = await store.load()

    assert [each.id for each in contents.devices] == [2]
    assert [each.id for each in contents.downstream] == [11]


async def test_messages_to_nobody_are_cleared_at_the_start(store: Store) -> None:
    """A batch may have written one just after its device went."""
    await store.put_downstream([message(device(collection()))])

    assert (await store.load()).downstream == []


async def test_a_collection_with_devices_cannot_be_deleted(store: Store) -> None:
    """The database itself keeps the two together, whichever process asks."""
    owner = collection()
    await store.put_collection(owner)
    await store.put_devices([device(owner)])
    with pytest.raises(Conflict, match="a collection that has one stays"):
        await store.delete_collection(owner.id)

    assert len((await store.load()).collections) == 1


async def test_gateways_survive(store: Store) -> None:
    """Every field, new and changed."""
    owner, other = collection(1), collection(2)
    written, second = gateway(owner), gateway(owner, 5)
    await store.put_collection(owner)
    await store.put_collection(other)
    await store.put_gateways([written, second])
    second.move_to(other)
    second.params, second.type = {}, GatewayType.CUSTOM
    await store.put_gateways([second])
    contents = await store.load()

    assert [values(each) for each in contents.gateways] == [values(second), values(written)]
    assert [each.collection.id for each in contents.gateways] == [2, 1]
    assert not contents.gateways[0].is_online


async def test_a_gateway_goes_together_with_its_blocks(store: Store) -> None:
    """A device that refuses to be written keeps the gateway, too."""
    owner, gone = collection(1), collection(2)
    behind = device(owner)
    await store.put_collection(owner)
    await store.put_devices([behind])
    await store.put_gateways([gateway(owner)])
    del behind.config.gateways[HIGH]
    with pytest.raises(Conflict):
        await store.delete_gateway(HIGH, [behind, device(gone, 7)])
    before = await store.load()
    await store.delete_gateway(HIGH, [behind])
    after = await store.load()

    assert ([each.id for each in before.gateways], list(before.devices[0].config.gateways)) == ([HIGH], [HIGH, 3])
    assert (after.gateways, list(after.devices[0].config.gateways)) == ([], [3])


async def test_a_gateway_needs_its_collection(store: Store) -> None:
    """And keeps it."""
    owner = collection()
    with pytest.raises(Conflict):
        await store.put_gateways([gateway(owner)])
    await store.put_collection(owner)
    await store.put_gateways([gateway(owner)])
    with pytest.raises(Conflict, match="a collection that has one stays"):
        await store.delete_collection(owner.id)


async def test_an_empty_block_is_no_block(store: Store) -> None:
    """Clients of gateways crash when they are told of a device without any parameter."""
    owner = collection()
    written = device(owner)
    written.config.gateways[3] = {}
    await store.put_collection(owner)
    await store.put_devices([written])

    assert list((await store.load()).devices[0].config.gateways) == [HIGH]


async def test_a_device_needs_its_collection(store: Store) -> None:
    """Nothing of the batch is written."""
    present = collection()
    await store.put_collection(present)
    with pytest.raises(Conflict, match="a device, gateway, image or blob needs its collection"):
        await store.put_devices([device(present, 1), device(collection(2), 2)])

    assert (await store.load()).devices == []


async def test_tokens_are_found_by_digest_and_counted(store: Store) -> None:
    """The fingerprint is another one after each creation and deletion."""
    first, second = (Token(each, f"{each:064x}", "/", True, "", 5) for each in (1, HIGH))
    prints = [await store.token_fingerprint()]
    for token in (first, second):
        await store.put_token(token)
        prints.append(await store.token_fingerprint())
    deleted = [await store.delete_token(first.id), await store.delete_token(first.id)]
    prints.append(await store.token_fingerprint())

    assert deleted == [True, False]
    assert await store.token(second.digest) == second
    assert await store.token(first.digest) is None
    assert await store.tokens() == [second]
    assert prints == [(0, 0), (1, 1), (2, HIGH), (1, HIGH)]


async def test_the_file_is_for_its_owner_alone(store: Store, tmp_path: Path) -> None:
    """It holds digests of tokens and what devices sent; so do its companions."""
    await store.put_collection(collection())

    assert modes(tmp_path) == {"registry.sqlite": 0o600, "registry.sqlite-wal": 0o600, "registry.sqlite-shm": 0o600}


async def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    """Whoever made it."""
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


async def test_the_psk_of_a_device_is_kept_and_goes_with_it(store: Store) -> None:
    """What messages change is written without it."""
    owner = collection()
    first, second = device(owner, 1), device(owner, 2)
    await store.put_collection(owner)
    await store.put_devices([first, second])
    for key in (b"k" * 16, b"\x00" * 64):
        await store.put_psk(1, Psk(b"\xff" * 128, key))
    await store.put_psk(2, Psk(b"two", b"k" * 16))
    await store.put_devices([first, second])
    found = [each.psk for each in (await store.load()).devices]
    await store.delete_psk(2)
    await store.delete_device(1)

    assert found == [Psk(b"\xff" * 128, b"\x00" * 64), Psk(b"two", b"k" * 16)]
    assert [each.psk for each in (await store.load()).devices] == [None]


async def test_a_psk_needs_its_device_and_an_identity_of_its_own(store: Store) -> None:
    """The database itself sees to it, whichever process asks."""
    owner = collection()
    await store.put_collection(owner)
    await store.put_devices([device(owner, 1), device(owner, 2)])
    await store.put_psk(1, Psk(b"one", b"k" * 16))
    for device_id, identity in ((2, b"one"), (3, b"three")):
        with pytest.raises(Conflict, match="a PSK needs its device, and an identity that no other") as caught:
            await store.put_psk(device_id, Psk(identity, b"s3" * 10))

        assert "s3s3s3" not in "".join(traceback.format_exception(caught.value))
    assert [each.psk for each in (await store.load()).devices] == [Psk(b"one", b"k" * 16), None]


async def test_certificates_outlive_their_devices(store: Store) -> None:
    """Until they are deleted themselves."""
    owner = collection()
    await store.put_collection(owner)
    await store.put_devices([device(owner)])
    first = Certificate(HIGH, owner.id, HIGH, None, 1, HIGH)
    second = Certificate(1, owner.id, None, 5, 1, 2, revoked_ms=3)
    for each in (first, Certificate(1, owner.id, None, 5, 1, 2), second):
        await store.put_certificate(each)
    await store.delete_device(HIGH)
    await store.delete_collection(owner.id)
    found = (await store.load()).certificates
    await store.delete_certificates([HIGH, 7])
    await store.delete_certificates([])

    assert found == [second, first]
    assert (await store.load()).certificates == [second]


async def test_attachments_are_written_and_deleted_together(store: Store) -> None:
    """All of them or none; also more than a driver takes at once."""
    owner = collection()
    attached = device(owner)
    await store.put_collection(owner)
    await store.put_devices([attached])
    known, stranger = attachment(attached), attachment(None, 1)
    others = [stranger, *(attachment(None, each) for each in range(2, 1002))]
    await store.change_cellular({each.id: each for each in (known, *others)}, {})
    known.address = "10.0.0.9"
    await store.change_cellular({known.id: known} | dict.fromkeys(range(1, 1002)), {})
    await store.change_cellular({}, {})
    contents = await store.load()

    assert [values(each) for each in contents.attachments] == [values(known) | {"device": contents.devices[0]}]


async def test_an_attachment_outlives_its_device(store: Store) -> None:
    """The mobile network has it still; it is nobody's then."""
    owner = collection()
    attached = device(owner)
    await store.put_collection(owner)
    await store.put_devices([attached])
    await store.change_cellular({HIGH: attachment(attached)}, {})
    await store.delete_device(attached.id)
    (found,) = (await store.load()).attachments

    assert values(found) == values(attachment(None))


def image(identifier: int, owner: Collection, **changes: object) -> Image:
    """Make an image; without changes, no two have a version or octets in common."""
    values = {"version": f"1.{identifier}\u2028", "sha256": f"{identifier:064x}", **changes}
    return Image(identifier, owner.id, filename="å.bin", length=HIGH, created_ms=7, tags={"a": "b"}, **values)  # type: ignore[arg-type]


async def test_images_are_kept_and_changed(store: Store) -> None:
    """Every field survives, whichever it is."""
    owner = collection()
    await store.put_collection(owner)
    first, gone, last = image(1, owner), image(2, owner), image(HIGH, owner)
    for each in (last, gone, first, dataclasses.replace(first, tags={}, enabled=False)):
        await store.put_image(each)
    await store.delete_image(gone.id)
    await store.delete_image(gone.id)

    assert (await store.load()).images == [dataclasses.replace(first, tags={}, enabled=False), last]


@pytest.mark.parametrize("same", [{"version": "1.1\u2028"}, {"sha256": f"{1:064x}"}])
async def test_no_two_images_of_a_collection_have_version_or_octets_in_common(
    store: Store, same: dict[str, str]
) -> None:
    """The database itself sees to it, whichever process asks; another collection may have the same."""
    owner, other = collection(), collection(2)
    for each in (owner, other):
        await store.put_collection(each)
    await store.put_image(image(1, owner))
    await store.put_image(image(2, other, **same))
    with pytest.raises(Conflict, match="no two images of a collection have the same version or octets"):
        await store.put_image(image(3, owner, **same))

    assert [each.id for each in (await store.load()).images] == [1, 2]


async def test_blobs_outlive_their_devices_but_not_their_collections(store: Store) -> None:
    """A collection that has one stays, and so one that has an image."""
    owner, other = collection(), collection(2)
    for each in (owner, other):
        await store.put_collection(each)
    await store.put_devices([device(owner)])
    blob = Blob(HIGH, owner.id, HIGH, 3, "image/jpeg", HIGH, HIGH, {"path": "/å", "address": "[::1]:1"})
    await store.put_blob(blob)
    await store.put_image(image(1, other))
    await store.delete_device(HIGH)
    for each in (owner, other):
        with pytest.raises(Conflict, match="a collection that has one stays"):
            await store.delete_collection(each.id)
    found = (await store.load()).blobs
    await store.delete_blob(HIGH)
    await store.delete_collection(owner.id)

    assert found == [blob]
    assert (await store.load()).blobs == []


async def test_a_registry_of_the_release_before_is_taken_over(tmp_path: Path) -> None:
    """Schema 1 knew none of what came later; an address was somebody's wish then. What it held stays."""
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


def versions(folder: Path) -> list[int]:
    """Return the schemas that a registry has gone through."""
    with sqlite3.connect(folder / "registry.sqlite") as connection:
        found = [row[0] for row in connection.execute("SELECT schema FROM about ORDER BY schema")]
    connection.close()
    return found


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


async def test_a_registry_of_a_newer_release_is_refused(store: Store, tmp_path: Path) -> None:
    """Rather than read half of it."""
    with sqlite3.connect(tmp_path / "registry.sqlite") as connection:
        connection.execute("INSERT INTO about (schema) VALUES (99)")
    connection.close()
    again = Store(url(tmp_path))

    with pytest.raises(StorageUnavailable, match=r"registry\.sqlite has schema 99.*a newer release wrote it"):
        await again.open()


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


async def test_a_closed_store_says_so(store: Store) -> None:
    """Closing twice does nothing."""
    await store.close()
    await store.close()

    with pytest.raises(StorageUnavailable, match="is not open"):
        await store.load()
