"""The data directory after a kill, a lost registry, and with doors left open."""

from __future__ import annotations

import asyncio
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bench.live import LiveServer
from tests.bench.ports import FREE_VARIABLES
from tests.bench.programs import Program, run
from tests.field.serving import serve, until_ready


async def test_security_R9_a_kill_leaves_no_file_without_a_row(tmp_path: Path) -> None:
    """Uploads without end, then kill -9, twice: each acknowledged blob is there, and nothing else."""
    acknowledged = 0
    with LiveServer(tmp_path) as server:
        device = await server.add_device(await server.add_collection())
        for _ in range(2):
            before = acknowledged

            async def upload(session: aiohttp.ClientSession) -> None:
                nonlocal acknowledged
                while True:
                    async with session.post(f"http://{server.addresses['blobs']}/blob", data=b"x" * 5000) as reply:
                        await reply.read()
                    acknowledged += reply.status in {200, 201}

            connector = aiohttp.TCPConnector(local_addr=(device.address, 0))
            async with aiohttp.ClientSession(connector=connector) as session:
                uploads = [asyncio.create_task(upload(session)) for _ in range(4)]
                while acknowledged < before + 10:
                    assert not any(each.done() for each in uploads)
                    await asyncio.sleep(0)
                server.kill()
                for each in uploads:
                    with suppress(aiohttp.ClientError):
                        await each
            server.start()
        listed: dict[str, Any] = await server.call("GET", f"/span/collections/{device.collection}/blobs")
        rows = {each["blobId"] for each in listed["blobs"]}
        files = {each.name for each in (server.data_dir / "blobs").iterdir()}

    assert files == rows
    assert len(rows) >= acknowledged >= 20
    assert "files_unknown" not in server.log


@pytest.mark.parametrize("state", ["missing", "empty"])
async def test_security_R10_a_lost_registry_is_told_as_a_lost_root_is(tmp_path: Path, state: str) -> None:
    """No new server begins in its place; neither does one by a command."""
    async with Program(*serve(tmp_path), environment=FREE_VARIABLES) as program:
        await until_ready(program, tmp_path)
        program.send_signal(15)  # type: ignore[arg-type]
        await program.finish()
    path = tmp_path / "data" / "registry.sqlite"
    path.unlink()
    if state == "empty":
        path.touch()
    refused = await run(*serve(tmp_path), environment=FREE_VARIABLES)
    program_name, *_ = serve(tmp_path)
    token = await run(program_name, "token", "create", "--resource", "/", "--data-dir", str(tmp_path / "data"))

    for each in (refused, token):
        assert each.status == 4
        assert f"registry.sqlite: is {state}, but the authority of this server is there" in each.complaints
        assert "hint: Restore registry.sqlite from a backup" in each.complaints
    assert path.exists() is (state == "empty")


async def test_security_R10_a_torn_database_is_restored_from_a_backup(tmp_path: Path) -> None:
    """The disk is neither full nor read-only."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "registry.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 9000)
    refused = await run(*serve(tmp_path), environment=FREE_VARIABLES)

    assert refused.status == 4
    assert "hint: The file is damaged: restore it from a backup" in refused.complaints


async def test_security_a_data_directory_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o750)
    async with Program(*serve(tmp_path), environment=FREE_VARIABLES) as program:
        while "data_directory_open" not in (line := await program.complaint()):
            pass
        await until_ready(program, tmp_path)

    assert "mode=0750" in line
    assert "chmod 700" in line
    assert stat.S_IMODE(data.stat().st_mode) == 0o750
