"""Runs a cluster until Ctrl-C; `scripts/cluster --help` has the words."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from scripts.nodes.cluster import COUNT, DEVICES, WEB, Cluster, free_ports, start, watch
from scripts.nodes.servers import ROOT, missing
from scripts.nodes.service import DidNotStart

FIRST: Final = 9000
ENVIRONMENT: Final = ROOT / ".cache" / "cluster.env"


def tell(text: str) -> None:
    """Write a line for people."""
    print(text, file=sys.stderr, flush=True)


async def run(folder: Path, first: int, environment: Path) -> None:
    """Run a cluster until SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        working = asyncio.create_task(work(stack, folder, first, environment))
        stopped = asyncio.create_task(stopping.wait())
        done, _ = await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)
        tell("stopping")
        if working in done:
            working.result()


async def work(stack: AsyncExitStack, folder: Path, first: int, environment: Path) -> None:
    """Start the cluster, tell of it, and start again what dies, until cancelled."""
    cluster = await start(stack, folder, first, tell)
    write_environment(cluster, environment)
    stack.callback(environment.unlink, missing_ok=True)
    print(describe(cluster, environment), flush=True)
    await watch(cluster, tell)


def write_environment(cluster: Cluster, path: Path) -> None:
    """Write the variables for a shell, at once and for their owner alone: the token is among them."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in cluster.variables().items())
        file.write(f'export PATH={shlex.quote(str(ROOT / ".venv" / "bin"))}:"$PATH"\n')
    new.replace(path)


def describe(cluster: Cluster, environment: Path) -> str:
    """Return where everything is, and what to try."""
    ports = cluster.ports
    web = ", ".join(f"{name} http://127.0.0.1:{ports[f'{name}.http.port']}" for name in WEB)
    devices = ", ".join(f"{name} 127.0.0.1:{ports[f'{name}.datagrams.port']}" for name in DEVICES)
    return f"""\
The cluster runs, with state and logs in {cluster.folder}; Ctrl-C stops it and deletes that.

  API and streams   http://127.0.0.1:{ports["http"]} (nginx), {web}
  Datagrams, DTLS   127.0.0.1:{ports["datagrams"]} (nginx, DTLS only), {devices}
  By address        $DEVICES1 (datagrams), $DEVICES1_COAP: nginx hides the address of a device
  CoAPS, gateways   127.0.0.1:{ports["coaps"]}, 127.0.0.1:{ports["gateways"]} (nginx)
  Token             in {environment}

  source {environment}
  kill -9 $(cat $CLUSTER/devices1.pid)    or web2, nats, postgresql, object-store: it starts again after a second

`span-events guide scaling` has more to try."""


def main() -> None:
    """Read the arguments, and run."""
    parser = argparse.ArgumentParser(prog="scripts/cluster")
    parser.add_argument("--ports", type=int, default=FIRST, help=f"first of {COUNT} ports; 0 picks free ones")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="file of variables for a shell")
    arguments = parser.parse_args()
    if not 0 <= arguments.ports <= 65_536 - COUNT:
        parser.error(f"--ports: {arguments.ports} leaves no room for {COUNT} ports")
    if names := missing():
        sys.exit(f"missing: {', '.join(names)} (versitygw needs Go)")
    with tempfile.TemporaryDirectory(prefix="span-events-cluster-", dir="/tmp") as name:  # short, for sockets
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL's user must reach its own folder in it
        try:
            asyncio.run(run(folder, arguments.ports or free_ports(), arguments.environment))
        except DidNotStart as exc:
            sys.exit(str(exc))


if __name__ == "__main__":
    main()
