"""The files around the package: lock files and scripts."""

import os
import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent

SCRIPTS: Final = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())

RUNTIME: Final = ROOT / "config/requirements.txt"

DEV: Final = ROOT / "config/requirements-dev.txt"

WSCAT: Final = ROOT / "config/wscat/package-lock.json"


def name_of(requirement: str) -> str:
    """Return the normalised name (PEP 503) that opens a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def locked(path: Path) -> dict[str, str]:
    """Return the locked version of each package by name."""
    lines = re.findall(r"^(\S+)==(\S+)", path.read_text(), flags=re.MULTILINE)
    return {name_of(name): version for name, version in lines}


@pytest.mark.parametrize("path", [RUNTIME, DEV, WSCAT], ids=lambda path: path.name)
def test_a_lock_file_names_no_host(path: Path) -> None:
    """Where packages come from is for whoever installs them to say."""
    assert "://" not in path.read_text()


@pytest.mark.parametrize("path", [RUNTIME, DEV], ids=lambda path: path.name)
def test_every_locked_package_has_hashes(path: Path) -> None:
    entries = re.findall(r"^\S+==.*(?:\n .*)*", path.read_text(), flags=re.MULTILINE)

    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_every_direct_dependency_is_locked() -> None:
    project, extras = PROJECT["project"], PROJECT["project"]["optional-dependencies"]
    runtime = [*project["dependencies"], *extras["uvloop"], *PROJECT["build-system"]["requires"]]
    everything = [*project["dependencies"], *chain(*extras.values())]

    assert {name_of(entry) for entry in runtime} - locked(RUNTIME).keys() == set()
    assert {name_of(entry) for entry in everything} - locked(DEV).keys() == set()


def test_what_is_tested_is_what_runs() -> None:
    """The development lock holds the runtime one, version for version."""
    assert locked(RUNTIME).items() <= locked(DEV).items()


@pytest.mark.parametrize("path", [*SCRIPTS, ROOT / ".ci/run"], ids=lambda path: path.name)
def test_a_script_can_be_run(path: Path) -> None:
    """``lib.sh`` is sourced by the others, so it alone has no run bit."""
    subprocess.run(["bash", "-n", path], check=True)

    assert os.access(path, os.X_OK) == (path.name != "lib.sh")
