"""Common secrets: made once, the same on every node, and worth nothing without the file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from span_events.errors import StorageUnavailable
from span_events.registry.shared.secrets import read_key
from span_events.registry.store import Store

KEY = b"k" * 32


async def test_the_first_of_several_nodes_decides(shared_store: Store) -> None:
    """Each gets what is stored; a known one is not read again."""
    shared = shared_store.secrets(KEY)
    found = await asyncio.gather(*(shared.add("pki/root.pem", bytes([number])) for number in range(5)))
    await shared.add("login.key", b"\x00" * 32)

    assert len(set(found)) == 1
    assert await shared.read("pki/") == {"pki/root.pem": found[0]}
    assert await shared.read("", ["pki/root.pem"]) == {"login.key": b"\x00" * 32}


async def test_another_key_is_told(shared_store: Store) -> None:
    """Also if a row was renamed: the name is authenticated, too."""
    await shared_store.secrets(KEY).add("pki/root.pem", b"secret")
    with pytest.raises(
        StorageUnavailable, match=r"pki.secret_file is not the one .* pki/root.pem was encrypted"
    ) as caught:
        await shared_store.secrets(b"x" * 32).read("")
    with pytest.raises(StorageUnavailable, match="is not the one"):
        await shared_store.secrets(b"x" * 32).add("pki/root.pem", b"other")

    assert "all nodes need the same" in caught.value.hint


async def test_a_file_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    """Short ones can be guessed."""
    path = tmp_path / "secret"
    with pytest.raises(StorageUnavailable, match=r"pki.secret_file: .*secret: cannot be read: No such file"):
        read_key(path)
    path.write_bytes(b"hunter2\n")
    with pytest.raises(StorageUnavailable, match="has 7 octets, at least 32 are needed") as caught:
        read_key(path)
    path.write_bytes(b"s" * 48 + b"\n")

    assert "openssl rand" in caught.value.hint
    assert len(read_key(path)) == 32
