"""Files stay short, and a folder shows at a glance what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from tests.bench.architecture import ROOT, files

MOST_LINES: Final = 499
MEDIAN_LINES: Final = 199
MOST_FILES: Final = 15
"""Of code, side by side in one folder."""

LONG: Final = {"span_events/events/catalogue.py": "one declarative list of all events"}
"""Longer files, and why."""

CROWDED: Final = {
    "tests/faults": "one file a fault, by number",
    "tests/attacks": "one file an attack, by number",
}
"""Folders of more files, and why."""


def long(lines: Mapping[str, int]) -> list[str]:
    """List the files that are too long."""
    return [
        f"{path}: {count} lines" for path, count in sorted(lines.items()) if count > MOST_LINES and path not in LONG
    ]


def crowded(paths: list[Path]) -> list[str]:
    """List the folders with too many files of code; ``__init__.py`` does not count."""
    counts = Counter(str(path.parent) for path in paths if path.stem != "__init__")
    return [
        f"{folder}: {count} files"
        for folder, count in sorted(counts.items())
        if count > MOST_FILES and folder not in CROWDED
    ]


def lines_of_files() -> dict[str, int]:
    """Return the number of lines of every Python file."""
    return {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in files()}


def test_no_file_is_too_long_and_no_folder_too_full() -> None:
    """Those to be removed are allowed until they are smaller."""
    assert [*long(lines_of_files()), *crowded(files())] == []


def test_files_are_short_as_a_rule() -> None:
    assert median(count for path, count in lines_of_files().items() if not path.endswith("__init__.py")) <= MEDIAN_LINES


def test_every_exception_is_needed() -> None:
    """An exception that became small has to leave its table."""
    lines = lines_of_files()
    counts = Counter(str(path.parent) for path in files())

    assert [path for path in LONG if lines[path] <= MOST_LINES] == []
    assert [folder for folder in CROWDED if not counts[folder]] == []


@pytest.mark.parametrize(("count", "fails"), [(MOST_LINES, False), (MOST_LINES + 1, True)])
def test_a_long_file_is_found(count: int, fails: bool) -> None:
    assert bool(long({"span_events/app/server.py": count})) is fails


@pytest.mark.parametrize(("count", "fails"), [(MOST_FILES, False), (MOST_FILES + 1, True)])
def test_a_full_folder_is_found(count: int, fails: bool) -> None:
    paths = [Path(f"span_events/fleet/file{number}.py") for number in range(count)]

    assert bool(crowded([*paths, Path("span_events/fleet/__init__.py")])) is fails
