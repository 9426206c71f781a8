"""The store on SQLite and PostgreSQL: the values that it keeps, and the order of its writes."""

from __future__ import annotations

import asyncio
import dataclasses
import traceback

import pytest

from span_events.errors import Conflict
from span_events.registry import database
from span_events.registry.model import Blob, Certificate, GatewayType, Psk, Token
from span_events.registry.store import Store
from tests.registry.rows import HIGH, attachment, collection, device, gateway, image, message, values


async def test_another_store_on_the_same_file_sees_everything(store: Store, database_url: str) -> None:
    """Every field survives, also the largest ids, and text and octets of any kind."""
    owner = collection()
    written = device(owner)
    await store.put_collection(owner)
    await store.put_devices([written])
    await store.put_downstream([message(written)])
    again = Store(database_url)
    await again.open()
    contents = await again.load()
    await again.close()

    assert [values(each) for each in contents.collections] == [values(owner)]
    assert [values(each) for each in contents.devices] == [values(written)]
    assert contents.devices[0].collection is contents.collections[0]
    assert contents.downstream == [message(written)]


async def test_writing_again_replaces_the_row(store: Store) -> None:
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


async def test_a_write_that_takes_long_shows_in_health(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is slow refuses nothing, so no failure tells an operator why every change takes long."""
    under_way, may_end = asyncio.Event(), asyncio.Event()

    async def slow(_: object) -> None:
        under_way.set()
        await may_end.wait()

    writing = asyncio.create_task(store._database.write(slow))
    await under_way.wait()
    monkeypatch.setattr(database, "_SLOW_S", 1e9)
    soon = store.health()
    monkeypatch.setattr(database, "_SLOW_S", -1.0)
    late = store.health()
    may_end.set()
    await writing
    monkeypatch.undo()

    assert soon == "ok"
    assert late.startswith("degraded: The registry ")
    assert late.endswith(" is slow: a change has waited 0 s")
    assert store.health() == "ok"


async def test_a_batch_of_any_size_is_written(store: Store) -> None:
    """Also of none; a batch is cut for the driver but is one transaction."""
    owner = collection()
    await store.put_collection(owner)
    await store.put_devices([])
    await store.put_devices([device(owner, each) for each in range(1, 1002)])
    await store.delete_downstream([])

    assert [each.id for each in (await store.load()).devices] == list(range(1, 1002))


async def test_rows_are_taken_before_the_first_wait(store: Store) -> None:
    """Changes during the wait of a write belong to the next write."""
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


async def test_a_write_goes_on_when_its_caller_is_cancelled(store: Store, database_url: str) -> None:
    """And closing the store waits for it."""
    writing = asyncio.ensure_future(store.put_collection(collection()))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await store.close()
    again = Store(database_url)
    await again.open()
    contents = await again.load()
    await again.close()

    assert [each.id for each in contents.collections] == [1]


async def test_a_deleted_device_takes_its_messages_along(store: Store) -> None:
    """Messages of other devices stay."""
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


async def test_messages_to_removed_devices_are_deleted_at_the_start(store: Store) -> None:
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
    """Gateway clients crash on a device without any parameter."""
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
    prints = [(await store.fingerprints())[0]]
    for token in (first, second):
        await store.put_token(token)
        prints.append((await store.fingerprints())[0])
    deleted = [await store.delete_token(first.id), await store.delete_token(first.id)]
    prints.append((await store.fingerprints())[0])

    assert deleted == [True, False]
    assert await store.token(second.digest) == second
    assert await store.token(first.digest) is None
    assert await store.tokens() == [second]
    assert prints == [(0, 0), (1, 1), (2, HIGH), (1, HIGH)]


async def test_the_psk_of_a_device_is_kept_and_goes_with_it(store: Store) -> None:
    """Changes by messages are written without the PSK."""
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
    """All rows or none; also more rows than a driver takes at once."""
    owner = collection()
    attached = device(owner)
    await store.put_collection(owner)
    await store.put_devices([attached])
    known, stranger = attachment(attached), attachment(None, 1)
    others = [stranger, *(attachment(None, each) for each in range(2, 1002))]
    await store.change_cellular({each.id: each for each in (known, *others)})
    known.address = "10.0.0.9"
    await store.change_cellular({known.id: known} | dict.fromkeys(range(1, 1002)))
    await store.change_cellular({})
    contents = await store.load()

    assert [values(each) for each in contents.attachments] == [values(known) | {"device": contents.devices[0]}]


async def test_an_attachment_outlives_its_device(store: Store) -> None:
    """The mobile network still has the attachment; it has no device then."""
    owner = collection()
    attached = device(owner)
    await store.put_collection(owner)
    await store.put_devices([attached])
    await store.change_cellular({HIGH: attachment(attached)})
    await store.delete_device(attached.id)
    (found,) = (await store.load()).attachments

    assert values(found) == values(attachment(None))


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
    """A collection with a blob or an image cannot be deleted."""
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
