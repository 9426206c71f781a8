"""``python -m scripts.benchmarks``: run the benchmarks that are named, or all of them."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from scripts.benchmarks import (
    coap,
    dtls,
    fanout,
    firmware,
    flood,
    gateways,
    idle,
    ingest,
    mqtt,
    radius,
    slow,
    storm,
    streams,
)
from scripts.benchmarks.harness import Options
from scripts.benchmarks.nodes import bus, registry, workers

BENCHMARKS = {
    "fanout": fanout.run,
    "streams": streams.run,
    "ingest": ingest.run,
    "coap": coap.run,
    "dtls": dtls.run,
    "gateways": gateways.run,
    "radius": radius.run,
    "firmware": firmware.run,
    "idle": idle.run,
    "mqtt": mqtt.run,
    "slow": slow.run,
    "storm": storm.run,
    "flood": flood.run,
    "bus": bus.run,
    "workers": workers.run,
    "registry": registry.run,
}


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {' '.join(BENCHMARKS)}; none is all")
    parser.add_argument("--rounds", type=int, default=3, help="how often each target runs; medians are quoted")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured seconds of each run")
    parser.add_argument("--harness", type=Path, help="folder with wsdrain, climit and udpblast")
    parser.add_argument("--uvloop", action="store_true", help="run every Python server on uvloop")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {' '.join(sorted(unknown))}; there are {' '.join(BENCHMARKS)}")
    options = Options(arguments.rounds, arguments.seconds, arguments.harness, arguments.uvloop)
    for name in arguments.names or BENCHMARKS:
        asyncio.run(BENCHMARKS[name](options))


main()
