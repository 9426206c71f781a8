"""Files with keys: closed to others from the first octet, whole or not there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from span_events.errors import StorageUnavailable
from span_events.pki import files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask of 0, so that only the code sets modes."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_only_the_owner_may_read_a_file_from_the_first_octet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode is set before the content, also under the temporary name."""
    seen: list[int] = []
    sync = os.fsync

    def look(handle: int) -> None:
        seen.append(os.fstat(handle).st_mode)
        sync(handle)

    monkeypatch.setattr(os, "fsync", look)
    files.create(tmp_path / "key", b"secret")

    assert mode(tmp_path / "key") == 0o600
    assert [stat.S_IMODE(each) for each in seen if stat.S_ISREG(each)] == [0o600]
    assert os.listdir(tmp_path) == ["key"]


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    """Both go on with the same key."""
    first = files.create(tmp_path / "key", b"one")
    second = files.create(tmp_path / "key", b"two")

    assert (first, second) == (b"one", b"one")
    assert os.listdir(tmp_path) == ["key"]


def test_replacing_is_atomic_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    """A process with the old file open reads the old content to its end."""
    files.create(tmp_path / "key", b"one")
    with (tmp_path / "key").open("rb") as old:
        files.replace(tmp_path / "key", b"two")

        assert old.read() == b"one"
    assert files.read(tmp_path / "key") == b"two"
    assert mode(tmp_path / "key") == 0o600
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.usefixtures("open_umask")
def test_a_folder_is_made_for_its_owner_alone_and_closed_if_it_is_not(tmp_path: Path) -> None:
    files.prepare_folder(tmp_path / "new")
    (tmp_path / "old").mkdir(0o755)
    files.prepare_folder(tmp_path / "old")

    assert [mode(tmp_path / each) for each in ("new", "old")] == [0o700, 0o700]


def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    """Restored from a backup, perhaps."""
    (tmp_path / "key").write_bytes(b"secret")
    (tmp_path / "key").chmod(0o644)

    assert files.read(tmp_path / "key") == b"secret"
    assert mode(tmp_path / "key") == 0o600


def test_a_failed_read_or_write_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageUnavailable, match="none/key: cannot be written: No such file"):
        files.create(tmp_path / "none" / "key", b"secret")
    with pytest.raises(StorageUnavailable, match="folder: cannot be written: "):
        files.replace(tmp_path / "folder", b"secret")
    with pytest.raises(StorageUnavailable, match="folder: cannot be read: Is a directory"):
        files.read(tmp_path / "folder")
    files.create(tmp_path / "key", b"")
    with pytest.raises(StorageUnavailable, match="key: cannot be made"):
        files.prepare_folder(tmp_path / "key")

    assert files.read(tmp_path / "nothing") is None
    assert sorted(os.listdir(tmp_path)) == ["folder", "key"]
