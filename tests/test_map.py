"""The map (span_events/README.md): each path in it exists, and it names every folder of the package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "span_events"
MAP: Final = (PACKAGE / "README.md").read_text()
NAMED: Final = re.findall(r"`([\w/]+(?:/|\.py|\.md))`", MAP)
"""Files and folders in the map, relative to the package or to the checkout."""


def test_every_path_in_the_map_exists() -> None:
    assert len(NAMED) > 60
    assert [each for each in NAMED if not (PACKAGE / each).exists() and not (ROOT / each).exists()] == []


def test_every_path_in_contributing_exists() -> None:
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:span_events|tests|config|scripts)/[\w/.-]+)[` ]", text)

    assert len(named) > 15
    assert [each for each in named if "NAME" not in each and not (ROOT / each).exists()] == []


def test_the_map_names_every_folder_of_the_package() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"proto"}

    assert {each for each in folders if f"`{each}/`" not in MAP} == set()
