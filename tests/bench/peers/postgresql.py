"""A PostgreSQL server for tests (Debian package postgresql)."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import create_async_engine

from span_events.registry.store import Store
from tests.bench.programs import find_program

_RELEASES: Final = Path("/usr/lib/postgresql")
"""Folder of the installed releases."""
_USER: Final = "postgres"
_TEMPLATE: Final = "template_span"


class PostgresqlServer:
    """
    A running server.

    Args:
        folder: Folder of its socket, its data and its log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = (f"test_{number}" for number in count(1))
        self._has_template = False

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+asyncpg://span@/{database}?host={self.folder}"

    async def execute(self, statement: str) -> None:
        """Execute a statement outside a transaction."""
        engine = create_async_engine(self.url(), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.exec_driver_sql(statement)
        await engine.dispose()

    async def new_database(self) -> str:
        """Create an empty database; return its URL."""
        name = next(self._names)
        await self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    async def new_registry(self) -> str:
        """Create a database with the registry's empty tables, as a copy of a template; return its URL."""
        if not self._has_template:
            await self.execute(f"CREATE DATABASE {_TEMPLATE}")
            store = Store(self.url(_TEMPLATE))
            await store.open()
            await store.close()
            self._has_template = True
        name = next(self._names)
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self.url(name)


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """
    Run a server on a socket in a folder of its own.

    PostgreSQL refuses to run as root, so root becomes the user of the Debian package.
    """
    find_program("pg_ctlcluster")  # of the package that has the releases
    programs = max(_RELEASES.glob("*/bin"))
    as_user = _USER if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="span-events-", dir="/tmp"))  # short, and open to that user
    if as_user:
        user = pwd.getpwnam(_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
    data = folder / "data"

    def run(*command: str) -> None:
        done = subprocess.run(command, user=as_user, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    try:
        run(str(programs / "initdb"), "--auth=trust", "--no-sync", "--username=span", "-D", str(data))
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        control = str(programs / "pg_ctl")
        run(control, "start", "--wait", "-D", str(data), "-l", str(folder / "log"), "-o", options)
        try:
            yield PostgresqlServer(folder)
        finally:
            run(control, "stop", "--mode=immediate", "-D", str(data))
    finally:
        shutil.rmtree(folder)
