"""The files around the package: lock files and scripts."""

import os
import re
import subprocess
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

import span_events

ROOT: Final = Path(__file__).parent.parent

SCRIPTS: Final = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())

RUNTIME: Final = ROOT / "config/requirements.txt"

DEV: Final = ROOT / "config/requirements-dev.txt"

NODES: Final = ROOT / "config/requirements-nodes.txt"

WSCAT: Final = ROOT / "config/wscat/package-lock.json"


def name_of(requirement: str) -> str:
    """Return the normalised name (PEP 503) that opens a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def locked(path: Path) -> dict[str, str]:
    """Return the locked version of each package by name."""
    lines = re.findall(r"^(\S+)==(\S+)", path.read_text(), flags=re.MULTILINE)
    return {name_of(name): version for name, version in lines}


def requires_of(name: str) -> list[str]:
    """Return what an installed package requires; nothing of one that is locked for other systems only."""
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


@pytest.mark.parametrize("path", [RUNTIME, DEV, NODES, WSCAT], ids=lambda path: path.name)
def test_a_lock_file_names_no_host(path: Path) -> None:
    """Where packages come from is for whoever installs them to say."""
    assert "://" not in path.read_text()


@pytest.mark.parametrize("path", [RUNTIME, DEV, NODES], ids=lambda path: path.name)
def test_every_locked_package_has_hashes(path: Path) -> None:
    entries = re.findall(r"^\S+==.*(?:\n .*)*", path.read_text(), flags=re.MULTILINE)

    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_every_direct_dependency_is_locked() -> None:
    project, extras = PROJECT["project"], PROJECT["project"]["optional-dependencies"]
    runtime = [*project["dependencies"], *extras["uvloop"], *PROJECT["build-system"]["requires"]]
    everything = [*project["dependencies"], *chain(*extras.values())]
    nodes = [*runtime, *extras["nats"], *extras["postgresql"], *extras["s3"]]

    assert {name_of(entry) for entry in runtime} - locked(RUNTIME).keys() == set()
    assert {name_of(entry) for entry in nodes} - locked(NODES).keys() == set()
    assert {name_of(entry) for entry in everything} - locked(DEV).keys() == set()


def test_every_pattern_of_shipped_files_finds_one() -> None:
    """A pattern without files is left over from something that moved."""
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        assert [each for each in patterns if not any((ROOT / package).glob(each))] == []


def test_stubs_are_of_the_major_version_that_they_describe() -> None:
    """Those of another one name what is not there."""
    found = locked(DEV)

    assert found["types-protobuf"].split(".")[0] == found["protobuf"].split(".")[0]


def test_the_day_of_the_release_is_that_of_the_changelog() -> None:
    """A start with the clock on an earlier day reports the clock as wrong."""
    heading = f"## [{span_events.__version__}] - {span_events.__released__}"

    assert heading in (ROOT / "CHANGELOG.md").read_text().splitlines()


def test_what_is_tested_is_what_runs() -> None:
    """The development lock holds the others, version for version."""
    assert locked(RUNTIME).items() <= locked(NODES).items() <= locked(DEV).items()


def test_the_lock_names_each_extra_that_a_locked_package_asks_for() -> None:
    """Old pip does not hold ``coverage[toml]>=7`` against ``coverage==7.1``: a newer release would break the set-up."""
    pins = set(re.findall(r"^(\S+)==", DEV.read_text(), flags=re.MULTILINE))
    asked = {
        match[0]
        for name in locked(DEV)
        for requirement in requires_of(name)
        if "extra ==" not in requirement and (match := re.match(r"[\w.-]+\[[^]]+\]", requirement))
    }

    assert "coverage[toml]" in asked
    assert asked - pins == set()


@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / ".ci/run"], ids=lambda path: path.name)
def test_a_script_can_be_run(path: Path) -> None:
    """``lib.sh`` is sourced by the others, so it alone has no run bit."""
    subprocess.run(["bash", "-n", path], check=True)

    assert os.access(path, os.X_OK) == (path.name != "lib.sh")
