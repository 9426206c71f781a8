"""
Logins: a user's password against a JWT, which ends by itself, by logout, or with the password or the user.

The registry holds a row for each login and memory holds a copy, so a JWT whose row is gone is worth nothing. Checks of
passwords run in few threads of low priority, and few of them wait.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from span_events import ids
from span_events.auth import jwt, passwords
from span_events.auth.attempts import Attempts
from span_events.bounded.quiet import OncePerMinute
from span_events.clock import Clock
from span_events.config import LoginsConfig
from span_events.errors import TooManyAttempts, Unavailable
from span_events.ids import IdGenerator
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.registry.accounts import Accounts, Login, User
from span_events.registry.model import Token

log = get_logger("logins")

_STALE: Final = (-1, 0)
"""Fingerprint that equals no registry's: the next `refresh` reloads."""
_NICE: Final = 10
"""Priority of the threads, so that checks of passwords do not slow what devices wait for."""
_LOGGED_HOSTS: Final = 1_000


class Logins:
    """
    The open logins of this installation.

    Args:
        key: Signs the JWTs; another key makes all of them invalid.
    """

    def __init__(
        self, accounts: Accounts, config: LoginsConfig, *, key: bytes, identifiers: IdGenerator, clock: Clock
    ) -> None:
        self._accounts = accounts
        self._config = config
        self._key = key
        self._identifiers = identifiers
        self._clock = clock
        self._attempts = Attempts(config)
        self._open: dict[int, tuple[Login, Token]] = {}
        self._gone: list[Token] = []  # logged out here, not yet returned by `refresh`
        self._fingerprint = (0, 0)
        self._changing = asyncio.Lock()
        self._checks = ThreadPoolExecutor(config.at_once, "passwords", initializer=_lower_priority)
        self._checking = 0
        self._quiet = OncePerMinute(_LOGGED_HOSTS)
        self.results = Counter[str]()
        """Number of attempts by result: success, invalid, slowed, busy."""

    async def log_in(self, email: str, password: str, *, host: str) -> str | None:
        """
        Check a password and return a JWT; None if account or password are wrong.

        Args:
            host: Address of the client.

        Raises:
            TooManyAttempts: There were too many failures in this minute, of this account or address.
            Unavailable: Too many checks wait.
        """
        account = email.strip().casefold()
        now = self._clock.monotonic()
        try:
            self._attempts.begin(account, host, now)
        except TooManyAttempts:
            self.results["slowed"] += 1
            raise
        user: User | None = None
        try:
            user = await self._check(account, password)
            text = None if user is None else await self._begin(user)
        except BaseException:  # no decision, so no failure
            self._attempts.forgive(account, host, now)
            raise
        if user is None or text is None:
            self.results["invalid"] += 1
            if count := self._quiet.admits(host, now):
                log.warning("login_failed", remote=host, count=count)  # no name: people type passwords there
            return None
        self.results["success"] += 1
        self._attempts.succeeded(account, host, now)
        log.info("logged_in", user=ids.render(user.id), remote=host)
        return text

    async def log_out(self, text: str) -> bool:
        """End the login of a JWT; return False if there is none. The next `refresh` returns its token."""
        token = self.find(text)
        if token is None:
            return False
        async with self._changing:
            await self._accounts.delete_logins([token.id])
            if self._open.pop(token.id, None):
                self._gone.append(token)
            self._fingerprint = _STALE
        log.info("logged_out", login=ids.render(token.id))
        return True

    def find(self, text: str) -> Token | None:
        """Find the login of a JWT, as the token that it is worth."""
        claims = jwt.verify(text, self._key)
        if claims is None:
            return None
        login, token = self._open.get(ids.parse(claims["jti"]), (None, None))
        return token if login is not None and login.expires_ms > self._now_ms() else None

    def expired(self) -> list[Token]:
        """Return the tokens of logins that expired since the last call."""
        now = self._now_ms()
        gone = [each for each in self._open.values() if each[0].expires_ms <= now]
        for login, _ in gone:
            del self._open[login.id]
        return [token for _, token in gone]

    async def load(self) -> None:
        """Read the open logins."""
        async with self._changing:
            await self._reload()

    async def refresh(self, found: tuple[int, int]) -> list[Token]:
        """
        Reload logins that changed, delete expired ones; return the tokens of those that ended.

        Args:
            found: The registry's fingerprint of the logins.
        """
        async with self._changing:
            if found != self._fingerprint:
                await self._reload()
            gone, self._gone = self._gone, []
        return gone

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "logins",
                "Attempts to log in; slowed and busy ones were refused without a check.",
                "counter",
                lambda: dict(self.results),
                label="result",
            ),
            Metric("logins_open", "Logins that have not ended.", "gauge", lambda: len(self._open)),
            Metric(
                "logins_checking",
                "Passwords that are checked or wait for it; at most logins.waiting.",
                "gauge",
                lambda: self._checking,
            ),
        ]

    # ---- inside -------------------------------------------------------------------------------

    async def _reload(self) -> None:
        rows = await self._accounts.logins()
        self._fingerprint = (len(rows), max((login.id for login, _ in rows), default=0))  # of these very rows
        now = self._now_ms()
        expired = [login.id for login, _ in rows if login.expires_ms <= now]
        stored = {  # an open login that expired just now is left to `expired`
            login.id: (login, user) for login, user in rows if login.expires_ms > now or login.id in self._open
        }
        self._gone += [token for key, (_, token) in self._open.items() if key not in stored]
        self._open = {key: self._open.get(key) or _opened(*each) for key, each in stored.items()}
        if expired:
            await self._accounts.delete_logins(expired)
            self._fingerprint = _STALE

    async def _check(self, account: str, password: str) -> User | None:
        """Return the user whose password this is."""
        if self._checking >= self._config.waiting:
            self.results["busy"] += 1
            raise Unavailable(
                f"{self._checking} logins wait already, as many as logins.waiting allows", hint="Try again soon."
            )
        self._checking += 1
        try:
            user = await self._accounts.user(account)
            hashed = passwords.NOBODY if user is None else user.password
            right = await asyncio.get_running_loop().run_in_executor(self._checks, passwords.is_right, password, hashed)
        finally:
            self._checking -= 1
        return user if right else None

    async def _begin(self, user: User) -> str | None:
        """Write a login and return its JWT; None if the password was changed meanwhile."""
        time_ns = self._clock.time_ns()
        created_ms = time_ns // 1_000_000
        login = Login(
            self._identifiers.next(time_ns), user.id, created_ms, created_ms + round(self._config.lifetime * 1000)
        )
        async with self._changing:  # or a `refresh` under way would take the new login for a deleted one
            if not await self._accounts.add_login(login, user.password, most=self._config.per_user):
                return None
            self._open[login.id] = _opened(login, user)
            self._fingerprint = _STALE
        claims = {
            "iss": "span-events",
            "sub": ids.render(user.id),
            "jti": ids.render(login.id),
            "iat": created_ms // 1000,
            "exp": login.expires_ms // 1000,
        }
        return jwt.sign(claims, self._key)

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000


def _opened(login: Login, user: User) -> tuple[Login, Token]:
    """Return a login with the token that it is worth."""
    return login, Token(login.id, "", user.resource, user.write, user.email, login.created_ms)


def _lower_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
