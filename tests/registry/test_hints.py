"""Hints for errors that PostgreSQL names by their codes: an operator has to look there, not at the connection."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.errors import DatabaseUnavailable
from span_events.registry.store import Store


@pytest.mark.parametrize(
    ("statements", "hint"),
    [
        (["SET TRANSACTION READ ONLY", "DELETE FROM tokens"], "primary"),
        (["DO $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$"], "disk is full"),
        (["DO $$ BEGIN RAISE EXCEPTION 'too many clients' USING ERRCODE = '53300'; END $$"], "max_connections"),
    ],
    ids=["standby", "full disk", "connections"],
)
async def test_an_error_of_postgresql_has_its_own_hint(shared_store: Store, statements: list[str], hint: str) -> None:
    """The common hint says that PostgreSQL should run; it does."""

    async def work(connection: AsyncConnection) -> None:
        for each in statements:
            await connection.exec_driver_sql(each)

    with pytest.raises(DatabaseUnavailable) as refused:
        await shared_store._database.write(work)

    assert hint in refused.value.hint
