"""
Secrets that all nodes have in common: the keys of the authority, and the key that signs logins.

They are in the registry, encrypted with AES-256-GCM (NIST SP 800-38D) under a key derived from the file
``pki.secret_file``, which each node has. A dump of the database alone is worth nothing. A secret is written once and
never changed, so the first of several nodes that make it wins.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.errors import StorageUnavailable
from span_events.registry import tables
from span_events.registry.database import Database

_LOCK: Final = 0x7370_6172
"""Key of the advisory lock of a first start."""
_NONCE: Final = 12
_LEAST: Final = 32
"""Octets that the file must have: as many as the key."""
_MOST: Final = 4096


def read_key(path: Path) -> bytes:
    """
    Derive the key of the secrets from a file.

    Raises:
        StorageUnavailable: The file cannot be read, or is too short for a secret.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST).strip()
    except OSError as exc:
        raise StorageUnavailable(f"pki.secret_file: {path}: cannot be read: {exc.strerror}") from exc
    if len(content) < _LEAST:
        error = StorageUnavailable(f"pki.secret_file: {path}: has {len(content)} octets, at least {_LEAST} are needed")
        error.hint = f"Make one, and copy it to each node: openssl rand -base64 48 > {path}"
        raise error
    return hashlib.sha256(b"span-events secrets\0" + content).digest()


async def agrees(database: Database, name: str, content: bytes) -> bool:
    """Write a public value unless a node has written one; return whether the written one is the same."""
    table = tables.secrets

    async def work(connection: AsyncConnection) -> bool:
        await connection.execute(insert(table).values(name=name, content=content).on_conflict_do_nothing())
        return (
            bytes((await connection.execute(select(table.c.content).where(table.c.name == name))).scalar_one())
            == content
        )

    return await database.write(work)


class SharedSecrets:
    """
    The common secrets.

    Args:
        key: Derived by `read_key`.
    """

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._cipher = AESGCM(key)

    @asynccontextmanager
    async def first_start(self) -> AsyncIterator[None]:
        """Let one node at a time look for secrets and make those that are missing."""
        async with self._database.connection(patient=True) as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            yield

    async def count(self, kind: str) -> int:
        """
        Count the secrets of a kind: as none is ever deleted, another count means new ones.

        Raises:
            StorageUnavailable: The database cannot be used.
        """
        table = tables.secrets
        wanted = select(func.count()).select_from(table).where(table.c.name.startswith(kind))
        async with self._database.connection() as connection:
            return int((await connection.execute(wanted)).scalar_one())

    async def read(self, kind: str, known: Iterable[str] = ()) -> dict[str, bytes]:
        """
        Read the secrets of a kind by name, except those that are known.

        Args:
            kind: Begin of their names.

        Raises:
            StorageUnavailable: The database cannot be used, or its secrets were encrypted with another key.
        """
        table = tables.secrets
        async with self._database.connection() as connection:
            present = (await connection.execute(select(table.c.name).where(table.c.name.startswith(kind)))).scalars()
            names = set(present) - set(known)
            if not names:
                return {}
            rows = (
                await connection.execute(select(table.c.name, table.c.content).where(table.c.name.in_(names)))
            ).all()
        return {name: self._decrypt(name, content) for name, content in rows}

    async def add(self, name: str, content: bytes) -> bytes:
        """
        Write a new secret; return it, or the one that another node wrote before.

        Raises:
            StorageUnavailable: The database cannot be used, or its secrets were encrypted with another key.
        """
        table, nonce = tables.secrets, secrets.token_bytes(_NONCE)
        encrypted = nonce + self._cipher.encrypt(nonce, content, name.encode())

        async def work(connection: AsyncConnection) -> bytes:
            values = {"name": name, "content": encrypted}
            await connection.execute(insert(table).values(values).on_conflict_do_nothing())
            return bytes((await connection.execute(select(table.c.content).where(table.c.name == name))).scalar_one())

        return self._decrypt(name, await self._database.write(work))

    def _decrypt(self, name: str, content: bytes) -> bytes:
        try:
            return self._cipher.decrypt(content[:_NONCE], content[_NONCE:], name.encode())
        except InvalidTag as exc:
            error = StorageUnavailable(f"pki.secret_file is not the one with which the registry's {name} was encrypted")
            error.hint = "Copy the file from a node that runs: all nodes need the same."
            raise error from exc
