"""Keys: the certificate authority and the key that signs logins, of one node or common to several."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from span_events.clock import Clock
from span_events.config import PkiConfig
from span_events.errors import StorageUnavailable
from span_events.pki import files
from span_events.pki.authority import Authority
from span_events.registry import location
from span_events.registry.shared.secrets import read_key
from span_events.registry.store import Store


async def open_keys(config: PkiConfig, store: Store, data_dir: Path, clock: Clock) -> tuple[Authority, bytes]:
    """
    Open the authority and the key that signs logins, or make them at a first start.

    Nodes that share a registry have their keys in common: in the registry if there is ``pki.secret_file``, else in a
    folder that they share.

    Raises:
        StorageUnavailable: A file or the registry cannot be used, or the authority is not that of the other nodes.
    """
    common = None
    if store.is_shared and config.secret_file:
        common = store.secrets(read_key(Path(config.secret_file)))
    folder = location.authority_folder(data_dir)

    async def agree(root_pem: bytes) -> None:
        if not await store.agrees("root/sha256", hashlib.sha256(root_pem).digest()):
            error = StorageUnavailable(f"{folder}: is not the authority of the other nodes of this registry")
            error.hint = (
                "Set pki.secret_file on all nodes, so that they have their keys in the registry, or mount one folder as"
                f" the data directory of all. Then move {folder} away."
            )
            raise error

    authority = await Authority.open(folder, config, clock, shared=common, agree=agree if store.is_shared else None)
    key = files.create(data_dir / "login.key", secrets.token_bytes(32))
    if common is not None:
        key = await common.add("login.key", key)
    return authority, key
