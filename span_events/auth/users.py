"""Users: people who log in with an account name and a password, and reach what a token of theirs would."""

from __future__ import annotations

import asyncio
from typing import Final

from span_events.auth import passwords
from span_events.auth.tokens import canonical_resource
from span_events.clock import Clock
from span_events.errors import Conflict, InvalidRequest, NotFound
from span_events.ids import IdGenerator
from span_events.registry.accounts import Accounts, User

MAX_EMAIL: Final = 254
"""Characters of an account name (RFC 5321 4.5.3.1.3, less the brackets)."""


class Users:
    """The users in the registry. A password change or a deletion ends the user's logins."""

    def __init__(self, accounts: Accounts, identifiers: IdGenerator, clock: Clock) -> None:
        self._accounts = accounts
        self._identifiers = identifiers
        self._clock = clock

    async def all(self) -> list[User]:
        """Return all users, oldest first."""
        return await self._accounts.users()

    async def add(self, email: str, password: str, *, resource: str, write: bool) -> User:
        """
        Make a user.

        Args:
            resource: Reach of the user, see `Tokens.create`.
            write: True if the user may change things.

        Raises:
            InvalidRequest: Account name, password or resource have another form.
            Conflict: The account exists.
        """
        account, reach = account_of(email), canonical_resource(resource)
        hashed = await asyncio.to_thread(passwords.hash_of, password)
        time_ns = self._clock.time_ns()
        made = User(self._identifiers.next(time_ns), account, hashed, reach, write, time_ns // 1_000_000)
        try:
            await self._accounts.add_user(made)
        except Conflict as exc:
            raise Conflict(
                f"There is a user {account} already", hint=f"`span-events user password {account}` sets a password."
            ) from exc
        return made

    async def delete(self, email: str) -> None:
        """
        Delete a user.

        Raises:
            NotFound: There is no such user.
        """
        if not await self._accounts.delete_user(account_of(email)):
            raise _unknown(email)

    async def change_password(self, email: str, password: str) -> None:
        """
        Set another password.

        Raises:
            InvalidRequest: The password is too short or too long.
            NotFound: There is no such user.
        """
        hashed = await asyncio.to_thread(passwords.hash_of, password)
        if not await self._accounts.change_password(account_of(email), hashed):
            raise _unknown(email)


def account_of(email: str) -> str:
    """
    Write an account name as the registry holds it.

    Raises:
        InvalidRequest: It cannot be one.
    """
    account = email.strip().casefold()
    if not 1 <= len(account) <= MAX_EMAIL or " " in account or not account.isprintable():
        raise InvalidRequest(f"email: an account name has 1 to {MAX_EMAIL} characters without spaces", field="email")
    return account


def _unknown(email: str) -> NotFound:
    return NotFound(
        f"There is no user {account_of(email)}",
        hint="`span-events user list` shows the users, in the same data directory.",
    )
