"""Tokens: made, found, deleted, by this process and by others on the same registry."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.auth import jwt
from span_events.auth.access import Credentials, authenticate
from span_events.auth.tokens import Tokens, canonical_resource
from span_events.errors import InvalidRequest, Unauthenticated
from span_events.ids import IdGenerator
from span_events.registry.model import Token
from span_events.registry.store import Store
from tests.bench.clock import ManualClock
from tests.registry.empty import make_registry


class CountingStore(Store):
    """Counts how often it is asked for a token."""

    asked = 0

    async def token(self, digest: str):  # type: ignore[no-untyped-def]  # the same as Store's
        """Count, then look."""
        self.asked += 1
        return await super().token(digest)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CountingStore]:
    """An empty store."""
    opened = CountingStore(await make_registry(tmp_path))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def elsewhere(store: Store, tmp_path: Path) -> AsyncIterator[Tokens]:
    """The tokens of another process on the same file."""
    opened = Store(f"sqlite+aiosqlite:///{tmp_path / 'registry.sqlite'}")
    await opened.open()
    yield Tokens(opened, IdGenerator(1), ManualClock())
    await opened.close()


@pytest.fixture
def tokens(store: CountingStore) -> Tokens:
    """The tokens of this process."""
    return Tokens(store, IdGenerator(), ManualClock())


async def test_a_token_is_64_digits_and_only_its_digest_is_kept(tokens: Tokens, store: Store) -> None:
    """The registry's file does not give a token away."""
    token, text = await tokens.create(resource="/", write=True, name="laptop")

    assert len(text) == 64
    assert int(text, 16)
    assert text not in str(await store.tokens())
    assert await store.tokens() == [token]
    assert await tokens.find(text) is token


async def test_tokens_survive_a_restart(tokens: Tokens, store: Store) -> None:
    """With all their fields."""
    token, text = await tokens.create(resource="/collections/17dh0cf43jfgl8", write=False)
    again = Tokens(store, IdGenerator(), ManualClock())
    await again.load()

    assert again.all() == [token]
    assert await again.find(text) == token


async def test_a_token_of_another_process_works_at_once(tokens: Tokens, elsewhere: Tokens) -> None:
    """The command line makes tokens beside the running server."""
    await tokens.load()
    token, text = await elsewhere.create(resource="/", write=True)

    assert await tokens.find(text) == token
    assert await tokens.refresh() == []
    assert len(tokens) == 1


async def test_a_deletion_by_another_process_is_returned_once(tokens: Tokens, elsewhere: Tokens) -> None:
    """Streams of such a token can be closed."""
    token, text = await elsewhere.create(resource="/", write=True)
    stays, _ = await elsewhere.create(resource="/", write=True)
    await tokens.load()
    await elsewhere.delete(token.id)
    told = [await tokens.refresh(), await tokens.refresh()]

    assert told == [[token], []]
    assert await tokens.find(text) is None
    assert tokens.all() == [stays]


async def test_a_deletion_in_this_process_is_returned_too(tokens: Tokens) -> None:
    """One way for all."""
    token, text = await tokens.create(resource="/", write=True)
    deleted = [await tokens.delete(token.id), await tokens.delete(token.id)]

    assert deleted == [True, False]
    assert await tokens.find(text) is None
    assert await tokens.refresh() == [token]


async def test_an_exchange_of_tokens_is_noticed(tokens: Tokens, elsewhere: Tokens) -> None:
    """The count alone would not show it."""
    old, _ = await elsewhere.create(resource="/", write=True)
    await tokens.load()
    await elsewhere.delete(old.id)
    new, _ = await elsewhere.create(resource="/", write=False)

    assert await tokens.refresh() == [old]
    assert tokens.all() == [new]


async def test_a_token_that_is_made_while_others_look_is_not_lost(tokens: Tokens) -> None:
    """Looking and making do not overlap."""
    made = await asyncio.gather(
        *(task for _ in range(20) for task in (tokens.create(resource="/", write=True), tokens.refresh()))
    )

    assert [each for each in made if each == []] == [[]] * 20
    assert len(tokens) == 20


async def test_an_unknown_token_is_looked_up_once(tokens: Tokens, store: CountingStore) -> None:
    """A client that repeats a wrong token costs nothing."""
    for _ in range(3):
        assert await tokens.find("0" * 64) is None

    assert store.asked == 1


@pytest.mark.parametrize("text", ["", "x", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "é" * 64])
async def test_malformed_tokens_are_not_looked_up(tokens: Tokens, store: CountingStore, text: str) -> None:
    """A token is 64 lower-case hexadecimal digits."""
    assert await tokens.find(text) is None
    assert store.asked == 0


async def test_strangers_are_forgotten_in_their_turn(tokens: Tokens, store: CountingStore) -> None:
    """Random tokens do not make the process grow."""
    for number in range(1_001):
        await tokens.find(f"{number:064x}")
    await tokens.find(f"{1_000:064x}")
    await tokens.find(f"{0:064x}")

    assert store.asked == 1_002


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("/", "/"),
        ("/collections/0017dh0cf43jfg", "/collections/17dh0cf43jfg"),
        ("/collections/17/devices/2a", "/collections/17/devices/2a"),
        ("/collections/17/gateways/3", "/collections/17/gateways/3"),
    ],
)
def test_a_resource_is_kept_in_one_spelling(text: str, resource: str) -> None:
    assert canonical_resource(text) == resource


@pytest.mark.parametrize(
    "text", ["", "collections/17", "/collections", "/collections/", "/collections/zz", "/collections/17/", "/span/x"]
)
def test_unknown_kinds_of_resources_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        canonical_resource(text)


async def test_a_token_expires(store: CountingStore) -> None:
    """Also after a restart; the refusal says so."""
    clock = ManualClock()
    tokens = Tokens(store, IdGenerator(), clock)
    token, text = await tokens.create(resource="/", write=False, lifetime=60)
    again = Tokens(store, IdGenerator(), clock)
    await again.load()
    before = [await each.find(text) for each in (tokens, again)], tokens.expired()
    clock.shift(60)

    assert before == ([token, token], [])
    assert [await each.find(text) for each in (tokens, again)] == [None, None]
    assert tokens.expired() == [token]
    assert tokens.expired() == []
    assert again.all() == [token]
    with pytest.raises(Unauthenticated, match="The token has expired"):
        await authenticate(again, Credentials(text, in_query=False))


async def test_last_uses_are_written_once_a_minute(store: CountingStore) -> None:
    """In batches, and not per request."""
    clock = ManualClock()
    tokens = Tokens(store, IdGenerator(), clock)
    token, text = await tokens.create(resource="/", write=False)
    start = clock.time_ns() // 1_000_000
    seen = []
    for seconds in (0, 30, 29, 1):
        clock.shift(seconds)
        await tokens.find(text)
        await tokens.flush()
        seen.append(await store.token_uses())
    await tokens.delete(token.id)

    assert seen == [{token.id: start}] * 3 + [{token.id: start + 60_000}]
    assert await store.token_uses() == {}


async def test_a_token_fits_a_subprotocol(tokens: Tokens) -> None:
    """Its characters are those of an RFC 7230 token."""
    _, text = await tokens.create(resource="/", write=False)

    assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text)
    assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", jwt.sign({"jti": "~~~???"}, b"key"))


async def test_a_token_made_during_a_refresh_and_deleted_before_the_next_one_is_returned(
    tokens: Tokens, elsewhere: Tokens, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry then has as many tokens as when the refresh began, with the same highest id."""
    await elsewhere.create(resource="/", write=False)
    read, made = store.tokens, []

    async def make_and_read() -> list[Token]:
        token, _ = await elsewhere.create(resource="/", write=False)
        made.append(token)
        return await read()

    with monkeypatch.context() as patch:
        patch.setattr(store, "tokens", make_and_read)
        await tokens.refresh()
    await elsewhere.delete(made[0].id)

    assert await tokens.refresh() == made
