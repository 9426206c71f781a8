"""The examples for NATS, PostgreSQL and nginx before several nodes, checked by the programs that read them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.programs import run

CONFIG: Final = Path(__file__).parents[2] / "config"
MODULE: Final = "/usr/lib/nginx/modules/ngx_stream_module.so"


async def test_nats_server_accepts_its_example(tmp_path: Path) -> None:
    """With and without the lines for a cluster, and those for TLS, whose files are not here."""
    example = CONFIG / "nats" / "nats.conf"
    plain = await run("nats-server", "-t", "-c", str(example), environment={"NATS_PASSWORD": "invented"})
    results = []
    for first in ("server_name", "tls {"):
        (tmp_path / "nats.conf").write_text(uncommented(example.read_text(), first))
        results.append(
            await run("nats-server", "-t", "-c", str(tmp_path / "nats.conf"), environment={"NATS_PASSWORD": "invented"})
        )
    several, secure = results

    assert plain.status == several.status == 0
    assert plain.printed.endswith("is valid\n")
    assert "/etc/nats/server.pem" in secure.printed


def uncommented(text: str, first: str) -> str:
    """Return an example with the lines of a comment from one on until a brace that closes."""
    begin = text.index(f"# {first}")
    end = text.index("# }\n", begin) + len("# }\n")
    return text[:begin] + text[begin:end].replace("# ", "") + text[end:]


async def test_nginx_accepts_the_example_for_several_nodes(tmp_path: Path) -> None:
    text = (CONFIG / "nginx" / "span-events-nodes.conf").read_text()
    text = re.sub(r" ssl;|^\s*ssl_certificate.*\n", lambda found: ";" * (found[0] == " ssl;"), text, flags=re.MULTILINE)
    (tmp_path / "nginx.conf").write_text(
        f"load_module {MODULE}; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        + re.sub(r"listen (\d+)", r"listen 127.0.0.1:2\g<1>", text)
    )
    checked = await run("nginx", "-t", "-c", str(tmp_path / "nginx.conf"), "-e", "stderr")

    assert "syntax is ok" in checked.printed
    assert checked.status == 0


def test_postgresql_accepts_its_settings_and_its_script(postgresql: PostgresqlServer) -> None:
    """The server reads the settings; the role of the script owns its database, and may log in."""
    copied = postgresql.folder / "span-events.conf"
    copied.write_bytes((CONFIG / "postgresql" / "span-events.conf").read_bytes())
    copied.chmod(0o644)
    (postgres,) = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    options = ["-D", str(postgresql.folder / "data"), "-c", f"config_file={copied}", "-C", "max_connections"]
    read = output([str(postgres), *options], user="postgres" if os.geteuid() == 0 else None)
    script = str(CONFIG / "postgresql" / "span-events.sql")
    psql = ["psql", "-h", str(postgresql.folder), "-v", "ON_ERROR_STOP=1", "-At"]
    output([*psql, "-U", "span", "-d", "postgres", "-v", "password=it's secret", "-f", script])
    owner = output([*psql, "-U", "span_events", "-c", "SELECT current_user, current_database()"])

    assert read == "200\n"
    assert owner == "span_events|span_events\n"


def output(command: Sequence[str], user: str | None = None) -> str:
    """Run a program that must succeed without a complaint; return its output."""
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
