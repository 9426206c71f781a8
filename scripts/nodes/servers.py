"""The servers that the nodes share: NATS, PostgreSQL and an object store."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Final

from scripts.nodes.service import Service, accepts

ROOT: Final = Path(__file__).parents[2]
VERSITYGW: Final = ROOT / ".cache" / "go" / "versitygw"
BUCKET: Final = "span-events"
_RELEASES: Final = Path("/usr/lib/postgresql")
_POSTGRES: Final = "postgres"
"""User of Debian's package; PostgreSQL refuses to run as root."""


def nats(folder: Path, port: int) -> Service:
    """NATS with JetStream in memory, which holds the history of events."""
    config = folder / "nats.conf"
    config.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f"jetstream {{ store_dir: {folder / 'jetstream'}, max_memory_store: 256MB, max_file_store: 0 }}\n"
    )
    return Service("nats", ["nats-server", "-c", str(config)], folder, accepts(port))


def postgresql(folder: Path) -> tuple[Service, str]:
    """PostgreSQL on a socket in a folder; return it with the SQLAlchemy URL of its database."""
    programs = max(_RELEASES.glob("*/bin"), key=lambda each: float(each.parent.name))
    user = _POSTGRES if os.geteuid() == 0 else None
    data = folder / "postgresql"
    data.mkdir(mode=0o700)
    if user is not None:
        owner = pwd.getpwnam(user)
        os.chown(data, owner.pw_uid, owner.pw_gid)
    initdb = [str(programs / "initdb"), "--auth=trust", "--no-sync", "--username=span", "-D", str(data / "data")]
    subprocess.run(initdb, user=user, cwd="/", check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    service = Service(
        "postgresql",
        [
            *(str(programs / "postgres"), "-D", str(data / "data"), "-k", str(data)),
            *("-c", "listen_addresses=", "-c", "max_connections=200"),
        ],
        folder,
        lambda: (
            subprocess.run(  # noqa: S603
                [str(programs / "pg_isready"), "-q", "-h", str(data)], check=False
            ).returncode
            == 0
        ),
        user=user,
    )
    return service, f"postgresql+asyncpg://span@/postgres?host={data}"


def object_store(folder: Path, port: int) -> tuple[Service, dict[str, str]]:
    """Versity's gateway over a folder; return it with the settings of the table [files]."""
    (folder / "objects" / BUCKET).mkdir(parents=True)
    (folder / "object-store").mkdir()
    key_id, secret = "span-events", secrets.token_urlsafe(24)
    credentials = folder / "object-store.credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n")
    service = Service(
        "object-store",
        [
            *(str(VERSITYGW), "--port", f"127.0.0.1:{port}", "--quiet"),
            *("posix", "--sidecar", str(folder / "object-store"), str(folder / "objects")),
        ],
        folder,
        accepts(port),
        environment={"ROOT_ACCESS_KEY_ID": key_id, "ROOT_SECRET_ACCESS_KEY": secret},
    )
    url = f"s3://{BUCKET}/cluster?endpoint=http://127.0.0.1:{port}"
    return service, {"url": url, "credentials_file": str(credentials)}


def missing() -> list[str]:
    """List the programs that are not installed."""
    found = [name for name in ("nats-server", "pg_ctlcluster", "nginx") if shutil.which(name) is None]
    return found if VERSITYGW.exists() else [*found, "versitygw"]
