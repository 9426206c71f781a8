"""
The folders are the architecture: imports go down the ladder, and what is pure stays pure.

``faults`` is the checker. It takes the sources as text, so that the tests below can show it failing.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import packages_distributions
from itertools import chain
from typing import Final

import pytest

from tests.bench.architecture import ROOT, calls_of, circles, graph_of, imports, sources, within

PACKAGE: Final = "span_events"

LADDER: Final = (
    {"__main__"},
    {"cli"},
    {"app"},
    {"web", "listeners", "outputs", "simulator", "client"},
    {"fleet"},
    {"fanout", "auth", "pki"},
    {"bus", "registry"},
    {"dialects"},
    {"events", "wire", "proto"},
    {"config", "errors", "ids", "clock", "log", "metrics", "net", "accepting", "turns", "bounded", "values"},
    {""},  # span_events/__init__.py: the version
)
"""Names directly under the package, highest first. An import may go down, never up or across."""

BASE: Final = len(LADDER) - 2
"""The rung of what needs nothing above: these may import each other, as long as they make no cycle."""

PURE: Final = {"bounded", "wire", "events", "dialects"}
"""Time and octets come in as arguments here, which is what makes these parts quick to test."""

IMPURE: Final = {"asyncio", "selectors", "socket", "ssl", "threading", "time", f"{PACKAGE}.clock"}

ALLOWED_ENTRIES: Final = {
    *("span_events", "tests", "config", "scripts"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"),
}
"""What the top of the checkout holds, beside dotfiles."""


def unit(module: str) -> str:
    """Return the name directly under the package: ``wire`` for ``span_events.wire.coap.messages``."""
    return module.partition(".")[2].partition(".")[0]


def rung(name: str) -> int | None:
    """Return how far down the ladder ``name`` stands, None when it is not on it."""
    return next((number for number, names in enumerate(LADDER) if name in names), None)


def fault(importer: str, imported: str) -> str | None:
    """Say what is wrong with one import, if anything is."""
    if imported.startswith("."):
        return "is relative; write the whole name"
    if unit(importer) in PURE and any(within(imported, name) for name in IMPURE):
        return f"does not belong in {unit(importer)}/"
    if not within(imported, PACKAGE) or unit(importer) == unit(imported):
        return None
    above, below = rung(unit(importer)), rung(unit(imported))
    if above is None or below is None:
        return "joins a name that is not on the ladder"
    if above > below:
        return "climbs the ladder"
    if above == below != BASE:
        return "joins two names on one rung"
    return None


def faults(modules: Mapping[str, str]) -> list[str]:
    """List every import that breaks the architecture, and one import circle if there are any."""
    graph = graph_of(modules)
    found = [
        f"{importer}: import of {imported} {wrong}"
        for importer, names in graph.items()
        for imported in sorted(names)
        if (wrong := fault(importer, imported))
    ]
    return found + circles(graph)


def publishers(modules: Mapping[str, str]) -> list[str]:
    """List the modules outside the fleet that publish on the bus; the bus itself publishes to NATS."""
    return [
        f"{name}:{line}: only the fleet publishes events"
        for name, source in modules.items()
        if unit(name) not in {"fleet", "bus"}
        for line in calls_of(source, "publish")
    ]


def stray(paths: Iterable[str]) -> set[str]:
    """Return the top-level entries that have no place there."""
    entries = {path.partition("/")[0] for path in paths}
    return {entry for entry in entries if not entry.startswith(".")} - ALLOWED_ENTRIES


def test_the_package_keeps_to_its_architecture() -> None:
    assert faults(sources(PACKAGE)) == []


def test_only_the_fleet_publishes_events() -> None:
    assert publishers(sources(PACKAGE)) == []


def test_the_checkout_has_no_stray_top_level_entry() -> None:
    """Git's own view: files that are tracked, and those that would be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "pyproject.toml" in listing
    assert stray(filter(None, listing.split("\0"))) == set()


def test_every_package_that_is_imported_is_declared() -> None:
    """A package that only happens to be installed would be missing elsewhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[^\w.-]", entry)[0].lower().replace("_", "-") for entry in chain(*declared)}
    distributions = packages_distributions()
    imported = {name.partition(".")[0] for text in sources(PACKAGE).values() for name in imports(text)}
    undeclared = {
        name
        for name in imported - sys.stdlib_module_names - {PACKAGE}
        if names.isdisjoint(found.lower().replace("_", "-") for found in distributions.get(name, []))
    }

    assert undeclared == set()


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("span_events.cli.main", "from span_events.app import run"),
        ("span_events.web.app", "from span_events.config import WebConfig"),
        ("span_events.listeners.coap.coap", "from span_events.listeners.base import Listener"),
        ("span_events.ids", "from span_events import clock, errors"),
        ("span_events.bus.local", "import asyncio, time"),
        ("span_events.wire.coap.messages", "from datetime import UTC, datetime"),
        ("span_events.wire.coap.messages", "import timeit"),
        ("span_events.__main__", "from span_events.cli.main import main"),
    ],
)
def test_a_good_import_passes(importer: str, source: str) -> None:
    assert faults({importer: source, "span_events.clock": "", "span_events.errors": ""}) == []


@pytest.mark.parametrize(
    ("importer", "source", "wrong"),
    [
        ("span_events.fleet.devices.devices", "from span_events.web import app", "climbs"),
        ("span_events.fleet.devices.devices", "def f():\n    import span_events.app", "climbs"),
        ("span_events.config", "from span_events.events.catalogue import CATALOGUE", "climbs"),
        ("span_events", "from span_events.ids import new_id", "climbs"),
        ("span_events.bus.local", "from span_events.registry.model import Device", "one rung"),
        ("span_events.wire.coap.messages", "import span_events.events", "one rung"),
        ("span_events.wire.coap.messages", "import asyncio", "does not belong in wire/"),
        ("span_events.events.history", "from time import monotonic", "does not belong in events/"),
        ("span_events.dialects.span", "import asyncio.events", "does not belong in dialects/"),
        ("span_events.wire.dtls.records", "def f():\n    import span_events.clock", "does not belong in wire/"),
        ("span_events.wire.dtls.records", "from span_events import clock", "does not belong in wire/"),
        ("span_events.helpers", "import span_events.ids", "not on the ladder"),
        ("span_events.web.app", "import span_events.helpers", "not on the ladder"),
        ("span_events.wire.coap.messages", "from .dtls import Session", "relative"),
    ],
)
def test_a_bad_import_is_named(importer: str, source: str, wrong: str) -> None:
    (found,) = faults({importer: source, "span_events.clock": ""})

    assert found.startswith(f"{importer}: import of ")
    assert wrong in found


@pytest.mark.parametrize(
    "modules",
    [
        {"span_events.ids": "import span_events.clock", "span_events.clock": "from span_events import ids"},
        {
            "span_events.web": "from span_events.web.app import serve",
            "span_events.web.app": "from span_events.web.streams.streams import stream",
            "span_events.web.streams.streams": "from span_events.web import serve",
        },
    ],
)
def test_a_cycle_is_named(modules: dict[str, str]) -> None:
    (found,) = faults(modules)

    assert found.startswith("cycle: span_events.")


def test_a_stray_entry_is_named() -> None:
    found = stray(["span_events/app.py", ".ci/run", "LICENSE", "docs/index.md", "notes.txt"])

    assert found == {"docs", "notes.txt"}


@pytest.mark.parametrize(("name", "fails"), [("span_events.fleet.blobs.blobs", False), ("span_events.web.app", True)])
def test_a_publisher_outside_the_fleet_is_named(name: str, fails: bool) -> None:
    source = "class A:\n    def f(self) -> None:\n        self._bus.publish(1)\n    def publish(self) -> None: ...\n"

    assert publishers({name: source}) == ([f"{name}:3: only the fleet publishes events"] if fails else [])
