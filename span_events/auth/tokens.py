"""
API tokens: a table in memory over the store, found by the SHA-256 digest of the text.

A token's text is 256 random bits, known to its owner only. At that length the digest needs neither salt nor
a slow hash, and a look-up by digest gives an attacker no timing hint about a guess.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections import OrderedDict
from typing import Final

from span_events import ids
from span_events.auth.logins import Logins
from span_events.clock import Clock
from span_events.errors import InvalidRequest
from span_events.ids import IdGenerator
from span_events.registry.model import Token
from span_events.registry.store import Store

_TEXT: Final = re.compile(r"[0-9a-f]{64}")
_RESOURCE: Final = re.compile(r"/collections/([^/]+)(?:/(devices|gateways)/([^/]+))?")
_STALE: Final = (-1, 0)
"""Fingerprint that equals no store's: the next `refresh` reloads, as a token may have been deleted elsewhere."""
_REMEMBERED_STRANGERS: Final = 1_000
"""Unknown digests that are refused without asking the store again."""
_USE_MS: Final = 60_000
"""Milliseconds between two written uses of a token."""


class Tokens:
    """
    The tokens of this installation, and the logins, each of which is worth a token.

    Args:
        logins: None where nobody logs in, as in the command line.
    """

    def __init__(self, store: Store, identifiers: IdGenerator, clock: Clock, *, logins: Logins | None = None) -> None:
        self._store = store
        self._logins = logins
        self._identifiers = identifiers
        self._clock = clock
        self._by_digest: dict[str, Token] = {}
        self._strangers: OrderedDict[str, None] = OrderedDict()
        self._gone: list[Token] = []  # deleted here, not yet returned by `refresh`
        self._expired: set[int] = set()  # already returned by `expired`
        self._used: dict[int, int] = {}  # last uses to be written, Unix milliseconds
        self._written: dict[int, int] = {}
        self._fingerprint = (0, 0)
        self._changing = asyncio.Lock()
        self._looking = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._by_digest)

    async def load(self) -> None:
        """Read all tokens and logins from the store."""
        async with self._changing:
            await self._reload()
        if self._logins is not None:
            await self._logins.load()

    async def create(self, *, resource: str, write: bool, name: str = "", lifetime: float = 0.0) -> tuple[Token, str]:
        """
        Make a token.

        Args:
            resource: Reach of the token: ``/``, ``/collections/ID``, or a device or gateway of a collection.
            write: True if the token permits changes.
            name: For people.
            lifetime: Seconds until the token expires; 0 for never.

        Returns:
            The token, and its text: 64 hexadecimal digits that the server cannot show again.

        Raises:
            InvalidRequest: The resource has another form.
        """
        text = secrets.token_hex(32)
        time_ns = self._clock.time_ns()
        reach = canonical_resource(resource)
        created_ms = time_ns // 1_000_000
        expires_ms = created_ms + round(lifetime * 1000) if lifetime else 0
        token = Token(self._identifiers.next(time_ns), _digest(text), reach, write, name, created_ms, expires_ms)
        async with self._changing:
            await self._store.put_token(token)
            self._by_digest[token.digest] = token
            self._fingerprint = _STALE
        return token, text

    async def delete(self, token_id: int) -> bool:
        """Delete a token; return False if it does not exist. The next `refresh` returns the deleted token."""
        async with self._changing:
            deleted = await self._store.delete_token(token_id)
            for token in [each for each in self._by_digest.values() if each.id == token_id]:
                self._forget(token)
        return deleted

    async def refresh(self) -> list[Token]:
        """
        Reload tokens that other processes changed.

        Returns:
            The tokens deleted since the last call, and those of logins that ended.
        """
        async with self._changing:
            tokens, logins = await self._store.fingerprints()
            if tokens != self._fingerprint:
                await self._reload()
            gone, self._gone = self._gone, []
        return gone + (await self._logins.refresh(logins) if self._logins is not None else [])

    def expired(self) -> list[Token]:
        """Return the tokens that expired since the last call; needs no store."""
        now = self._clock.time_ns() // 1_000_000
        found = [each for each in self._by_digest.values() if _is_over(each, now) and each.id not in self._expired]
        self._expired.update(each.id for each in found)
        return found + (self._logins.expired() if self._logins is not None else [])

    def has_expired(self, text: str) -> bool:
        """Return whether a text is that of a token which is valid no longer."""
        token = self._by_digest.get(_digest(text))
        return token is not None and _is_over(token, self._clock.time_ns() // 1_000_000)

    async def flush(self) -> None:
        """Write when each token was last used, at most once a minute per token."""
        if self._used:
            used, self._used = self._used, {}
            await self._store.put_token_uses(used)
            self._written |= used

    async def find(self, text: str) -> Token | None:
        """
        Find a token by its text, or the login of a JWT.

        An unknown one costs at most one look into the store, so that a token which another process
        made a moment ago works at once.
        """
        if not _TEXT.fullmatch(text):
            return self._logins.find(text) if self._logins is not None else None
        digest = _digest(text)
        token = self._by_digest.get(digest)
        if token is not None:
            return self._used_now(token)
        if digest in self._strangers:
            return None
        async with self._looking:  # not the other lock: a row of wrong tokens must not put off `refresh`
            token = self._by_digest.get(digest) or await self._store.token(digest)
            if token is not None:
                self._by_digest[digest] = token
                self._fingerprint = _STALE
                return self._used_now(token)
            self._strangers[digest] = None
            if len(self._strangers) > _REMEMBERED_STRANGERS:
                self._strangers.popitem(last=False)
        return None

    def all(self) -> list[Token]:
        """Return all tokens, oldest first."""
        return sorted(self._by_digest.values(), key=lambda each: each.id)

    async def _reload(self) -> None:
        found = {each.digest: each for each in await self._store.tokens()}
        if self._by_digest.keys() <= found.keys():
            # Of these very tokens: one read apart from them may not count a token that another process makes and
            # deletes meanwhile, whose deletion would never be seen.
            self._fingerprint = (len(found), max((each.id for each in found.values()), default=0))
        else:
            self._fingerprint = _STALE  # some are gone, or were found a moment ago
        for token in [each for digest, each in self._by_digest.items() if digest not in found]:
            self._forget(token)
        self._by_digest = found

    def _used_now(self, token: Token) -> Token | None:
        """Note a use of a token; return None if it is valid no longer."""
        now = self._clock.time_ns() // 1_000_000
        if _is_over(token, now):
            return None
        if abs(now - self._written.get(token.id, 0)) >= _USE_MS:  # the clock may be set back
            self._used[token.id] = now
        return token

    def _forget(self, token: Token) -> None:
        del self._by_digest[token.digest]
        self._expired.discard(token.id)
        self._used.pop(token.id, None)
        self._written.pop(token.id, None)
        self._gone.append(token)


def canonical_resource(text: str) -> str:
    """
    Write a resource as tokens hold it.

    Raises:
        InvalidRequest: It is no resource that a token can reach.
    """
    if text == "/":
        return text
    match = _RESOURCE.fullmatch(text)
    if match is None:
        raise InvalidRequest(
            f"resource: {text[:80]!r} is not a resource that a token can reach",
            hint="Use / for everything, /collections/ID, /collections/ID/devices/ID or /collections/ID/gateways/ID.",
            field="resource",
        )
    collection, kind, part = match.groups()
    resource = f"/collections/{ids.render(ids.parse(collection, what='collection'))}"
    return resource if part is None else f"{resource}/{kind}/{ids.render(ids.parse(part, what=kind[:-1]))}"


def _is_over(token: Token, now_ms: int) -> bool:
    return 0 < token.expires_ms <= now_ms


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()  # a header may have any octets
