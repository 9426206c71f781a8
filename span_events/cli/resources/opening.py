"""Opens the registry of a data directory for a command that needs no server; a running one notices the changes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from span_events import config as configuration
from span_events import ids
from span_events.auth.tokens import Tokens
from span_events.auth.users import Users
from span_events.clock import SystemClock
from span_events.errors import NotFound
from span_events.ids import IdGenerator
from span_events.registry import location
from span_events.registry.store import Store

T = TypeVar("T")

NEW: Final = " (new: no server has used it yet)"
"""Ending of a place whose registry was not there."""


@dataclass(frozen=True, slots=True)
class OpenRegistry:
    """The registry, open while a command works."""

    store: Store
    tokens: Tokens
    users: Users

    async def missing(self, resource: str) -> str:
        """Return the missing part of a resource (``collection 17dh…``); empty if all exists."""
        words = resource.strip("/").split("/")
        named = dict(zip(words[::2], words[1::2], strict=False))
        if "collections" not in named:
            return ""
        contents = await self.store.load()
        if named["collections"] not in {ids.render(each.id) for each in contents.collections}:
            return f"collection {named['collections']}"
        members = {ids.render(each.id) for each in contents.devices if ids.render(each.collection.id) == words[1]}
        if "devices" in named and named["devices"] not in members:
            return f"device {named['devices']} in collection {named['collections']}"
        return ""


def place_of(data_dir: Path, config: Path | None) -> str:
    """Print the registry in use: a wrong folder would create a new one, with a token that no server knows."""
    registry = configuration.load(config).registry
    if registry.url:
        return "the database of registry.url"
    database = Path(location.database_url(registry, data_dir).partition(":///")[2])
    return str(data_dir.resolve()) + ("" if database.exists() else NEW)


def with_registry(
    data_dir: Path, config: Path | None, work: Callable[[OpenRegistry], Awaitable[T]], *, make: bool = False
) -> T:
    """Open the registry for some work; only ``make`` brings a new one into being."""
    settings = configuration.load(config)
    if not make and not settings.registry.url and not data_dir.is_dir():
        raise NotFound(
            f"There is no data directory {data_dir}", hint="--data-dir says where the server keeps its data."
        )
    location.prepare(data_dir)

    async def within() -> T:
        store = Store(location.database_url(settings.registry, data_dir))
        await store.open()
        try:
            identifiers = IdGenerator(secrets.randbelow(ids.NODES))  # a server and other commands may run beside us
            tokens = Tokens(store, identifiers, SystemClock())
            await tokens.load()
            users = Users(store.accounts, identifiers, SystemClock())
            return await work(OpenRegistry(store, tokens, users))
        finally:
            await store.close()

    return asyncio.run(within())
