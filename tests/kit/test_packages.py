"""Sdist and wheel: both build without a network, and hold the package and the files for operators, each of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Final

import pytest

import span_events

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD: Final = "import sys; from setuptools import build_meta as b; getattr(b, 'build_' + sys.argv[1])(sys.argv[2])"
KIT: Final = ("container", "grafana", "haproxy", "kubernetes", "nats", "nginx", "postgresql", "prometheus", "systemd")
"""Folders of config/ for operators."""


def tracked() -> list[str]:
    """Return the files of the checkout as git knows them, new ones included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [each for each in listing.split("\0") if each and (ROOT / each).is_file()]


def build(kind: str, source: Path, target: Path) -> Path:
    """Build from a folder with the backend that is installed, as a build without a network does."""
    target.mkdir()
    command = [sys.executable, "-c", BUILD, kind, str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An sdist of the tracked files, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("packages")
    for name in tracked():
        if name.startswith(("span_events/", "config/")) or "/" not in name:
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    sdist = build("sdist", folder / "source", folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    return sdist, build("wheel", unpacked, folder / "wheel")


def test_the_sdist_and_the_wheel_hold_every_file_of_package_and_kit(built: tuple[Path, Path]) -> None:
    """Guides, protocol definitions, types and the demo; settings, unit, dashboards and the rest of the kit."""
    package = {each for each in tracked() if each.startswith("span_events/") and each != "span_events/README.md"}
    kit = {each for each in tracked() if each.startswith(tuple(f"config/{folder}/" for folder in KIT))}
    with tarfile.open(built[0]) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    data = f"span_events-{span_events.__version__}.data/data/share/span-events"

    assert len(package) > 300
    assert len(kit) > 6
    assert package - names == set()
    assert {f"{data}/{each.removeprefix('config/')}" for each in kit} - names == set()
    assert {f"{data}/span-events.toml", f"{data}/CHANGELOG.md"} <= names
    assert (package | kit | {"pyproject.toml", "README.md", "LICENSE"}) - source == set()
    assert [each for each in names if each.startswith(("tests", "scripts"))] == []


def test_the_wheel_is_installed_by_pip_and_runs_from_anywhere(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Without the checkout: guides and settings are the installed ones. Dependencies are those of this environment."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    (site,) = (environment / "lib").glob("python*/site-packages")
    options = ["--no-index", "--no-deps", "--no-compile", "--quiet", "--disable-pip-version-check"]
    python = str(environment / "bin" / "python")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *options, str(built[1])], check=True)
    (dependencies,) = (ROOT / ".venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(f"{dependencies}\n")

    def output(*arguments: str) -> str:
        command = [str(environment / "bin" / "span-events"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert output("guide", "operating").startswith("# Operating")
    assert output("config", "show") == (environment / "share" / "span-events" / "span-events.toml").read_text()
    assert (site / "span_events" / "proto" / "gateway.proto").is_file()
    assert PROJECT["project"]["scripts"]["span-events"] == "span_events.cli.main:main"
