"""
Subjects: one word for one thing on every floor, and listed arrows between the subjects of one floor.

A floor is a folder of the package, a subject a folder on it: ``fleet/gateways``, ``listeners/gateways``. The folders of
the tests mirror both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from typing import Final

import pytest

from tests.bench.architecture import ROOT, circles, folders_of, graph_of, imports, reached, sources, within

SUBJECTS: Final[dict[str, set[str]]] = {
    "blobs": {"fleet", "listeners"},
    "cellular": {"fleet", "simulator"},
    "coap": {"listeners", "wire"},
    "devices": {"fleet"},
    "dtls": {"listeners", "wire"},
    "firmware": {"fleet", "simulator", "cli"},
    "gateways": {"fleet", "listeners", "simulator"},
    "grpc": {"wire"},
    "outputs": {"fleet"},
    "migrations": {"registry"},
    "mqtt": {"web", "wire"},
    "radius": {"listeners", "wire"},
    "tls": {"wire"},
    "openapi": {"web"},
    "rest": {"web"},
    "streams": {"web"},
    "resources": {"cli"},
    "roles": {"app"},
    "workers": {"app"},
    "simulate": {"cli"},
    "demo": {"simulator"},
    "things_stack": {"dialects", "web"},
    "chirpstack": {"dialects", "fleet", "listeners", "simulator", "web"},
    "reasons": {"events"},
    "sections": {"config"},
    "files": {"registry"},
    "shared": {"registry"},
}
"""Subjects, and the floors where each may stand."""

ARROWS: Final[dict[str, set[str]]] = {
    "fleet.fleet": {"blobs", "cellular", "chirpstack", "devices", "firmware", "gateways", "outputs"},
    "fleet.blobs": {"devices"},
    "fleet.cellular": {"devices"},
    "fleet.chirpstack": {"devices"},
    "fleet.firmware": {"devices"},
    "fleet.gateways": {"devices"},
    "fleet.live": {"devices"},
    "fleet.replica": {"cellular", "devices", "gateways"},
    "listeners.datagrams": {"dtls"},
    "listeners.coap": {"dtls"},
    "registry.database": {"migrations"},
    "registry.registry": {"shared"},
    "registry.store": {"shared"},
    "wire.dtls": {"tls"},
    "wire.recognition": {"coap"},
    "simulator.demo": {"cellular", "chirpstack", "firmware", "gateways"},
    "simulator.faults": {"cellular", "firmware"},
    "simulator.scene": {"cellular", "firmware"},
    "simulator.simulation": {"cellular", "firmware"},
    "simulator.terminals": {"cellular"},
    "web.app": {"chirpstack", "rest"},
    "web.chirpstack": {"rest"},
    "web.described": {"openapi"},
    "web.front": {"streams"},
    "web.openapi": {"rest", "streams"},
    "web.mqtt": {"streams"},
    "web.things_stack": {"streams"},
    "app.server": {"roles"},
    "cli.firmware": {"resources"},
    "cli.simulate": {"resources"},
    "cli.tail": {"resources"},
    "events.catalogue": {"reasons"},
    "registry.model": {"files"},
    "config": {"sections"},
    "config.loading": {"sections"},
    "config.reference": {"sections"},
}
"""Subjects of its own floor that a subject, or a file beside the subjects, may import."""

TESTS_ONLY: Final[dict[str, set[str]]] = {
    "bench": {"peers"},
    "e2e": {"devices", "server", "subscribers"},
    "field": {"clients", "core", "device", "diagnosis", "security"},
}
"""Folders of tests that mirror none of the package."""

STARTERS: Final = (
    "span_events.app",
    "tests.bench.forked",
    "tests.bench.loaded",
    "tests.bench.live",
    "tests.bench.programs",
    "tests.bench.servers",
    "tests.listeners",
    "subprocess",
)
"""Modules that start servers or programs. Quick tests import none of them, neither directly nor through others."""

STARTING: Final = {"tests.test_architecture", "tests.test_project", "tests.test_proto"}
"""Quick tests that run git, bash and the Python of the environment, which every checkout has."""


# ---- the checkers -----------------------------------------------------------------------------


def names(folders: Iterable[str]) -> list[str]:
    """List the folders whose name is no subject of their floor; folders are packages with dots."""
    found = []
    for folder in sorted(folders):
        parts = folder.split(".")
        if len(parts) != 3 or parts[0] not in {"span_events", "tests"}:
            continue
        _, floor, name = parts
        if parts[0] == "tests" and name in TESTS_ONLY.get(floor, ()):
            continue
        if floor not in SUBJECTS.get(name, ()):
            found.append(f"{folder.replace('.', '/')}: {name} is no subject of {floor}/")
    return found


def prefixes(modules: Iterable[str]) -> list[str]:
    """List the files beside subjects whose name begins with a subject, as in ``listeners/gateway_client.py``."""
    words = {re.sub("s$", "", subject) for subject in SUBJECTS} | SUBJECTS.keys()
    floors = {floor for each in SUBJECTS.values() for floor in each}
    found = []
    for module in sorted(modules):
        parts = module.split(".")
        if len(parts) == 3 and parts[1] in floors and parts[2].partition("_")[0] in words and "_" in parts[2]:
            found.append(f"{module}: belongs into the folder of its subject")
    return found


def arrows(modules: Mapping[str, str]) -> list[str]:
    """List the imports between subjects of one floor that no arrow allows."""
    folders = folders_of(modules)
    found = []
    for importer, source in modules.items():
        place = place_of(importer, folders)
        for imported in sorted(set(imports(source, modules))):
            target = place_of(imported, folders)
            same_floor = place.partition(".")[0] == target.partition(".")[0]
            subject = target.partition(".")[2]
            is_folder = f"span_events.{target}" in folders and subject != ""
            if same_floor and is_folder and place != target and subject not in ARROWS.get(place, ()):
                found.append(f"{importer}: import of {imported} is no arrow from {place} to {subject}")
    return found


def place_of(module: str, folders: Set[str]) -> str:
    """Return floor and subject of a module of the package, or floor and file beside the subjects."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if f"span_events.{'.'.join(parts[:2])}" in folders else ".".join(parts)


def starters(modules: Mapping[str, str], quick: Iterable[str]) -> list[str]:
    """List the quick tests that reach a module which starts servers or programs."""
    graph = graph_of(modules)
    return [
        f"{module}: reaches {each}, so it is no quick test"
        for module in sorted(modules)
        if any(within(module, each) for each in quick) and module not in STARTING
        for each in sorted(reached(graph, module))
        if any(within(each, starter) for starter in STARTERS)
    ]


def quick_modules() -> list[str]:
    """Return the packages and modules that `scripts/test --quick` runs."""
    (listed,) = re.findall(r"^quick=\(tests/\{(.+)\} tests/test_\*\.py\)$", (ROOT / "scripts/test").read_text(), re.M)
    single = [f"tests.{path.stem}" for path in (ROOT / "tests").glob("test_*.py")]
    return [f"tests.{each}" for each in listed.split(",")] + single


# ---- this checkout ----------------------------------------------------------------------------


def test_a_subject_has_one_name_on_every_floor() -> None:
    modules = sources()

    assert "\n".join(names(folders_of(modules))) == ""
    assert "\n".join(prefixes(sources("span_events"))) == ""


def test_every_subject_stands_where_the_table_says() -> None:
    """An entry without a folder has to leave the table."""
    folders = folders_of(sources())

    assert {
        f"{floor}/{subject}"
        for subject, floors in SUBJECTS.items()
        for floor in floors
        if f"span_events.{floor}.{subject}" not in folders
    } == set()


def test_subjects_of_one_floor_import_each_other_only_along_arrows() -> None:
    assert "\n".join(arrows(sources("span_events"))) == ""


def test_every_arrow_is_in_use() -> None:
    """An arrow that no import needs has to leave the table."""
    modules = sources("span_events")
    folders = folders_of(modules)
    used = {
        (place_of(importer, folders), place_of(imported, folders).partition(".")[2])
        for importer, source in modules.items()
        for imported in imports(source, modules)
    }

    assert {(place, subject) for place, subjects in ARROWS.items() for subject in subjects} - used == set()


def test_no_import_circle_exists_in_package_tests_and_scripts() -> None:
    assert "\n".join(circles(graph_of(sources()))) == ""


def test_quick_tests_start_no_server_and_no_program() -> None:
    """They run on a machine without any Debian package."""
    assert "\n".join(starters(sources(), quick_modules())) == ""


# ---- the checkers fail ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder", ["span_events.fleet.gateway", "span_events.wire.firmware", "tests.fleet.things", "tests.cli.gateways"]
)
def test_another_name_of_a_subject_is_found(folder: str) -> None:
    assert len(names([folder])) == 1


@pytest.mark.parametrize(
    "folder", ["span_events.fleet.gateways", "tests.fleet.gateways", "tests.e2e.server", "tests.bench", "scripts.a.b"]
)
def test_a_subject_on_its_floor_passes(folder: str) -> None:
    assert names([folder]) == []


def test_a_subject_as_a_prefix_is_found() -> None:
    modules = ["span_events.listeners.gateway_client", "span_events.fleet.blobs_room", "span_events.fleet.targets"]

    assert [each.partition(":")[0] for each in prefixes(modules)] == [
        "span_events.fleet.blobs_room",
        "span_events.listeners.gateway_client",
    ]


@pytest.mark.parametrize(
    ("importer", "source", "fails"),
    [
        ("span_events.fleet.firmware.states", "from span_events.fleet.devices.inbound import Reception", False),
        ("span_events.fleet.devices.inbound", "from span_events.fleet.firmware.states import State", True),
        ("span_events.fleet.gateways.uplink", "from span_events.fleet.cellular import attach", True),
        ("span_events.fleet.fleet", "from span_events.fleet.cellular.attach import Cellular", False),
        ("span_events.fleet.targets", "from span_events.fleet.devices.inbound import Reception", True),
        ("span_events.fleet.devices.inbound", "from span_events.fleet.targets import move", False),
        ("span_events.fleet.devices.inbound", "from span_events.wire.coap.messages import decode", False),
        ("span_events.wire.coap.messages", "def f():\n    import span_events.wire.tls.alerts", True),
    ],
)
def test_an_import_without_an_arrow_is_found(importer: str, source: str, fails: bool) -> None:
    others = ("devices.inbound", "devices.sessions", "firmware.states", "cellular.attach", "gateways.uplink", "targets")
    modules = {f"span_events.fleet.{each}": "" for each in others} | {
        "span_events.wire.tls.alerts": "",
        "span_events.wire.coap.messages": "",
        importer: source,
    }

    assert bool(arrows(modules)) is fails


def test_a_circle_between_tests_and_scripts_is_found() -> None:
    (found,) = circles(
        graph_of({"tests.bench.live": "import scripts.benchmarks", "scripts.benchmarks": "import tests.bench.live"})
    )

    assert found.startswith("cycle: ")


@pytest.mark.parametrize("source", ["import subprocess", "from span_events.app import Server", "import tests.bench.b"])
def test_a_quick_test_that_starts_something_is_found(source: str) -> None:
    """Also through another module."""
    modules = {
        "tests.wire.test_a": source,
        "tests.bench.b": "from tests.bench.programs import run",
        "tests.bench.programs": "",
        "tests.e2e.test_c": "import subprocess",
    }

    assert len(starters(modules, ["tests.wire"])) == 1
