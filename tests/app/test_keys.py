"""Keys of nodes that share a registry: one authority, whichever way each node has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from span_events.app.keys import open_keys
from span_events.config import PkiConfig
from span_events.errors import StorageUnavailable
from span_events.registry.store import Store
from tests.bench.clock import ManualClock

SECRET = "s" * 48


@pytest.mark.parametrize("first_has_it", [True, False])
async def test_a_node_with_the_secret_file_and_one_without_are_not_one_server(
    shared_store: Store, tmp_path: Path, first_has_it: bool
) -> None:
    """The second would start with an authority of its own, and leaves no trace of it in the registry."""
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with_secret, without = PkiConfig(secret_file=str(tmp_path / "secret")), PkiConfig()
    first, second = (with_secret, without) if first_has_it else (without, with_secret)
    authority, _ = await open_keys(first, shared_store, tmp_path / "one", ManualClock())
    with pytest.raises(StorageUnavailable, match="is not the authority of the other nodes") as caught:
        await open_keys(second, shared_store, tmp_path / "two", ManualClock())
    later, _ = await open_keys(with_secret, shared_store, tmp_path / "one", ManualClock())

    assert "Set pki.secret_file on all nodes" in caught.value.hint
    assert later.root_pem == authority.root_pem
