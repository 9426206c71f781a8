"""The tables of accounts: users, who log in with a password, and their logins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Delete, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.registry import database, tables
from span_events.registry.database import Database
from span_events.registry.rows import Block


@dataclass(frozen=True, slots=True)
class User:
    """A person who logs in."""

    id: int
    email: str
    """Name of the account, in lower case."""
    password: str = field(repr=False)
    """Argon2id hash of the password, in PHC format."""
    resource: str
    """Path prefix that the user reaches, as of a token."""
    write: bool
    created_ms: int


@dataclass(frozen=True, slots=True)
class Login:
    """The time from a user's login to its end."""

    id: int
    user_id: int
    created_ms: int
    expires_ms: int


_USER: Final = Block(User)
_LOGIN: Final = Block(Login)


class Accounts:
    """Reads and writes users and logins; every method raises `StorageUnavailable` when the database cannot be used."""

    def __init__(self, opened: Database) -> None:
        self._database = opened

    async def users(self) -> list[User]:
        """Read all users, oldest first."""
        async with self._database.connection() as connection:
            return [_USER.read(row) for row in await database.read(connection, tables.users)]

    async def user(self, email: str) -> User | None:
        """Read the user with this account name."""
        wanted = select(tables.users).where(tables.users.c.email == email)
        async with self._database.connection() as connection:
            row = (await connection.execute(wanted)).mappings().one_or_none()
        return None if row is None else _USER.read(row)

    async def add_user(self, user: User) -> None:
        """
        Write a new user.

        Raises:
            Conflict: Another user has this account name.
        """
        await self._database.put(tables.users, [_USER.write(user)])

    async def delete_user(self, email: str) -> bool:
        """Delete a user and the user's logins; return False if there is none."""
        gone = delete(tables.users).where(tables.users.c.email == email)

        async def work(connection: AsyncConnection) -> bool:
            await connection.execute(_logins_of(email))
            return (await connection.execute(gone)).rowcount > 0

        return await self._database.write(work)

    async def change_password(self, email: str, password: str) -> bool:
        """
        Write another hash and delete the user's logins; return False if there is no such user.

        Args:
            password: Hash of the new password.
        """
        changed = update(tables.users).where(tables.users.c.email == email).values(password=password)

        async def work(connection: AsyncConnection) -> bool:
            found = (await connection.execute(changed)).rowcount > 0
            await connection.execute(_logins_of(email))
            return found

        return await self._database.write(work)

    async def add_login(self, login: Login, password: str, *, most: int) -> bool:
        """
        Write a login; return False if the user or the password that was checked is gone by now.

        Args:
            password: Hash that the password was checked against.
            most: Upper bound of logins of a user; beyond it, the oldest ends.
        """
        logins, users = tables.logins, tables.users
        same = select(users.c.id).where(users.c.id == login.user_id, users.c.password == password).with_for_update()
        newest = select(logins.c.id).where(logins.c.user_id == login.user_id).order_by(logins.c.id.desc()).limit(most)
        oldest = delete(logins).where(logins.c.user_id == login.user_id, logins.c.id.not_in(newest))

        async def work(connection: AsyncConnection) -> bool:
            if (await connection.execute(same)).one_or_none() is None:
                return False
            await database.put(connection, logins, [_LOGIN.write(login)])
            await connection.execute(oldest)
            return True

        return await self._database.write(work)

    async def delete_logins(self, ids: Sequence[int]) -> None:
        """Delete logins."""
        await self._database.delete(tables.logins, ids)

    async def logins(self) -> list[tuple[Login, User]]:
        """Read all logins, oldest first, with their users."""
        async with self._database.connection() as connection:
            users = {row["id"]: _USER.read(row) for row in await database.read(connection, tables.users)}
            logins = [_LOGIN.read(row) for row in await database.read(connection, tables.logins)]
        return [(each, users[each.user_id]) for each in logins if each.user_id in users]


def _logins_of(email: str) -> Delete:
    users = select(tables.users.c.id).where(tables.users.c.email == email)
    return delete(tables.logins).where(tables.logins.c.user_id.in_(users))
