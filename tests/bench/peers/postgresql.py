"""A PostgreSQL server for tests (Debian package postgresql)."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import create_async_engine

from tests.bench.programs import find_program
from tests.bench.waiting import PATIENCE

_RELEASES: Final = Path("/usr/lib/postgresql")
"""Folder of the installed releases."""
_USER: Final = "postgres"


class PostgresqlServer:
    """
    A server on a socket in a folder of its own.

    PostgreSQL refuses to run as root, so root becomes the user of the Debian package.
    """

    def __init__(self) -> None:
        find_program("pg_ctlcluster")  # of the package that has the releases
        self._programs = max(_RELEASES.glob("*/bin"))
        self._user = _USER if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="span-events-", dir="/tmp"))  # short, and open to that user
        if self._user:
            user = pwd.getpwnam(_USER)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._users = (f"test_{number}" for number in count(1))
        self._run("initdb", "--auth=trust", "--no-sync", "--username=span", "-D", str(self.folder / "data"))

    def start(self) -> None:
        """Start it, for the first time or again."""
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self._run(*self._control("start"), "--wait", "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """Stop it as a power cut does."""
        self._run(*self._control("stop"), "--mode=immediate")

    def kill(self) -> None:
        """Kill its main process with SIGKILL, and wait until the others have noticed."""
        main, *others = self._processes()
        os.kill(main, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while any(Path(f"/proc/{each}").exists() for each in others):
            assert time.monotonic() < deadline, "processes of PostgreSQL stay"
            time.sleep(0.01)

    def freeze(self) -> None:
        """Let it neither read nor write."""
        for each in self._processes():
            with suppress(ProcessLookupError):  # one that was about to end
                os.kill(each, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for each in self._processes():
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)

    def _processes(self) -> list[int]:
        """Return its main process, and then the others."""
        main = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]

    def _control(self, command: str) -> tuple[str, ...]:
        return "pg_ctl", command, "-D", str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = (str(self._programs / program), *arguments)
        done = subprocess.run(command, user=self._user, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def url(self, user: str = "span") -> str:
        """Return the SQLAlchemy URL of a user's schema."""
        return f"postgresql+asyncpg://{user}@/postgres?host={self.folder}"

    async def execute(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own."""
        engine = create_async_engine(self.url(), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            for each in statements:
                await connection.exec_driver_sql(each)
        await engine.dispose()

    async def new_schema(self) -> str:
        """Create a user with an empty schema, which is cheaper than a database; return its URL."""
        user = next(self._users)
        await self.execute(f"CREATE USER {user}", f"CREATE SCHEMA AUTHORIZATION {user}")
        return self.url(user)


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Run a server."""
    server = PostgresqlServer()
    try:
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(server.folder)
