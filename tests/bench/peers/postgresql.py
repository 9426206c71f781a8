"""A PostgreSQL server for tests (Debian package postgresql)."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bench.programs import find_program

_RELEASES: Final = Path("/usr/lib/postgresql")
"""Folder of the installed releases."""
_USER: Final = "postgres"


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """
    Run a server on a socket in a folder; give the SQLAlchemy URL of a database.

    PostgreSQL refuses to run as root, so root becomes the user of the Debian package.
    """
    find_program("pg_ctlcluster")  # of the package that has the releases
    programs = max(_RELEASES.glob("*/bin"))
    as_user = _USER if os.geteuid() == 0 else None
    folder = Path("/tmp") / f"span-events-{os.getpid()}" if as_user else folder  # a path that it may enter
    folder.mkdir(mode=0o700)
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
            yield f"postgresql+asyncpg://span@/postgres?host={folder}"
        finally:
            run(control, "stop", "--mode=immediate", "-D", str(data))
    finally:
        shutil.rmtree(folder)
