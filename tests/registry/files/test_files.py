"""The rules that hold for files wherever they are kept: in a folder, or in an object store."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from span_events.errors import StorageUnavailable
from span_events.ids import render
from span_events.registry.files.base import Files, StoredFile
from tests.registry.files.places import Place, read, write

ID = 0x1000_4000_0000_0000
NAME = render(ID)


class TestFiles:
    """One class for every place."""

    async def test_blocks_are_appended_in_place(self, files: Files, place: Place) -> None:
        """Transfers arrive block by block; the size is known at any time."""
        incoming = files.begin(ID)
        sizes = []
        for number in range(3):
            incoming.append(bytes([number]) * 1024)
            sizes.append(incoming.size)
        await incoming.keep()
        incoming.name()

        assert sizes == [1024, 2048, 3072]
        assert await read(files, StoredFile(ID, 3072), length=3072) == b"\0" * 1024 + b"\1" * 1024 + b"\2" * 1024

    async def test_another_process_reads_any_block_at_any_time(self, files: Files, place: Place) -> None:
        """Fewer octets at the end, none behind it; a whole file is a local one."""
        stored = await write(files, ID, bytes(range(10)))
        other = place.open()
        await other.prepare(lambda _: True)
        blocks = [await read(other, stored, offset, 4) for offset in (4, 0, 4, 8, 12)]
        whole = await other.whole(stored)
        await other.close()

        assert blocks == [bytes([4, 5, 6, 7]), bytes([0, 1, 2, 3]), bytes([4, 5, 6, 7]), bytes([8, 9]), b""]
        assert whole.read_bytes() == bytes(range(10))

    async def test_a_broken_upload_leaves_nothing(self, files: Files, place: Place) -> None:
        """Whatever breaks it, and discarding again does nothing."""
        incoming = files.begin(ID)

        async def upload() -> None:
            async with incoming:
                await incoming.write(b"half")
                raise ConnectionError

        with pytest.raises(ConnectionError):
            await upload()
        await incoming.discard()
        await (again := files.begin(ID)).discard()

        assert again.size == 0
        assert place.names() == []

    async def test_a_file_is_pending_until_its_row_is_written(self, files: Files, place: Place) -> None:
        """A kept file is not discarded."""
        async with files.begin(ID) as incoming:
            await incoming.write(b"whole")
            await incoming.keep()
            await incoming.discard()
            pending = place.names()
            incoming.name()
        await files.check(is_current=True)

        assert f"{NAME}.pending" in pending
        assert place.names() == [NAME]

    async def test_a_failed_deletion_of_the_row_keeps_the_file(self, files: Files, place: Place) -> None:
        stored = await write(files, ID, b"stored")
        with pytest.raises(ConnectionError):
            async with files.deleting(ID):
                raise ConnectionError
        await files.check(is_current=True)
        kept, names = await read(files, stored), place.names()
        async with files.deleting(ID):
            pass
        await files.delete(ID)

        assert (kept, names) == (b"stored", [NAME])
        assert place.names() == []

    async def test_a_deleted_file_is_gone_for_readers_too(self, files: Files) -> None:
        """Also for those that had it open; deleting it again does nothing."""
        stored = await write(files, ID, b"octets")
        await read(files, stored)
        await files.delete(ID)
        await files.delete(ID)

        with pytest.raises(StorageUnavailable, match=NAME):
            await read(files, stored)
        with pytest.raises(StorageUnavailable, match=NAME):
            await files.whole(stored)

    @pytest.mark.parametrize("size", [9, 11])
    async def test_a_file_of_another_size_is_refused(self, files: Files, place: Place, size: int) -> None:
        """As a whole, and with the block that shows it."""
        await write(files, ID, bytes(10))
        other = place.open()
        await other.prepare(lambda _: True)
        try:
            with pytest.raises(StorageUnavailable, match=f"{NAME}: has .* octets, wanted {size}|more than {size}"):
                await other.whole(StoredFile(ID, size))
            with pytest.raises(StorageUnavailable, match=NAME):
                await read(other, StoredFile(ID, size), 8, 8)
        finally:
            await other.close()

    async def test_the_row_of_a_pending_file_decides_over_it(self, files: Files, place: Place) -> None:
        """After a crash between row and file: of an upload, before and after its row, and of a deletion, likewise."""
        for each in (1, 2):
            async with files.begin(each) as incoming:
                await incoming.write(b"uploaded")
                await incoming.keep()
        for each in (3, 4):
            await write(files, each, b"stored")
            async with files.deleting(each):
                pass  # the process ends before the file is deleted
        place.age()
        other = place.open()
        with capture_logs() as logs:
            await other.prepare([1, 3].__contains__)
            await other.check(is_current=True)
        await other.close()

        assert place.names() == ["1", "3"]
        assert [each["event"] for each in logs] == ["file_without_row_removed"] * 2

    async def test_the_upload_of_another_node_is_left_alone(self, files: Files, place: Place) -> None:
        """A node that starts does not know yet whether a young file gets a row."""
        async with files.begin(ID) as incoming:
            await incoming.write(b"uploaded")
            await incoming.keep()
            before = place.names()
            other = place.open()
            await other.prepare(lambda _: False)
            await other.check(is_current=True)
            await other.close()

            assert place.names() == before
            incoming.name()
        assert await read(files, StoredFile(ID, 8)) == b"uploaded"

    async def test_pending_files_are_left_alone_while_the_rows_of_other_nodes_are_unknown(
        self, files: Files, place: Place
    ) -> None:
        """Their uploads may have rows, which this node does not see while PostgreSQL is away."""
        async with files.begin(ID) as incoming:
            await incoming.write(b"uploaded")
            await incoming.keep()
        before = place.names()
        other = place.open()
        await other.prepare(lambda _: False)
        place.age()
        await other.check(is_current=False)
        await other.close()

        assert place.names() == before

    async def test_a_file_without_a_row_is_left_alone(self, files: Files, place: Place) -> None:
        """A registry that was restored from a backup must not delete what a newer one knows."""
        await write(files, ID, b"stored")
        await files.check(is_current=True)
        place.age()
        other = place.open()
        await other.prepare(lambda _: False)
        await other.check(is_current=True)
        await other.close()

        assert place.names() == [NAME]
