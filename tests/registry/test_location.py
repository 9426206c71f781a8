"""The data directory of another user, or on a read-only file system: the error names the file and the way out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import pytest

from span_events import config
from span_events.cli.options import config_option, data_dir_option
from span_events.errors import ConfigurationError, StorageUnavailable
from span_events.registry import location

STRANGER: Final = 65_532
"""A user without a name."""


@contextmanager
def another_user() -> Iterator[None]:
    """Act as a user without privileges."""
    os.setresuid(STRANGER, STRANGER, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user can reach, unlike `tmp_path`."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    made = Path(tempfile.mkdtemp())
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def test_a_file_of_another_user_is_named_with_both_users(folder: Path) -> None:
    """As after a command or a first start by root."""
    (folder / "registry.sqlite").touch(mode=0o600)
    with another_user(), pytest.raises(StorageUnavailable) as caught:
        location.prepare(folder)

    assert str(caught.value) == f"{folder}/registry.sqlite: {STRANGER} may not read and write it; it belongs to root"
    assert f"chown -R {STRANGER} {folder} && " in str(caught.value.hint)


def test_a_link_to_a_volume_that_is_not_mounted_is_named(folder: Path) -> None:
    (folder / "blobs").symlink_to(folder / "volume" / "blobs")
    with pytest.raises(StorageUnavailable) as caught:
        location.prepare(folder)

    assert str(caught.value) == f"{folder}/blobs: cannot be used: No such file or directory"
    assert caught.value.hint == f"{folder}/blobs is a link to {folder}/volume/blobs."


def test_a_link_into_a_folder_that_is_closed_is_named(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    (folder / "pki").symlink_to(folder / "closed" / "pki")
    with another_user(), pytest.raises(StorageUnavailable, match="pki: cannot be used: Permission denied"):
        location.prepare(folder)


def test_an_authority_of_another_user_is_no_defect(folder: Path) -> None:
    """The server looks for it before anything else."""
    (folder / "pki").mkdir(mode=0o700)
    with another_user(), pytest.raises(StorageUnavailable, match=f"pki: {STRANGER} may not read and write it"):
        location.authority_exists(folder)


def test_a_folder_that_this_user_closed_is_opened_by_chmod_alone(folder: Path) -> None:
    with another_user():
        (folder / "pki").mkdir(mode=0o500)
        with pytest.raises(StorageUnavailable) as caught:
            location.prepare(folder)

    assert caught.value.hint == f"chmod -R u+rwX {folder}"


def test_other_files_in_the_data_directory_do_not_matter(folder: Path) -> None:
    """A file system of its own has a folder of root's there."""
    (folder / "lost+found").mkdir(mode=0o700)
    with another_user():
        location.prepare(folder)


def test_a_folder_and_a_file_that_cannot_be_read_are_no_wrong_options(folder: Path) -> None:
    """They are there; the opening names the reason."""
    (folder / "closed").mkdir(mode=0o700)
    (folder / "settings.toml").touch(mode=0o600)
    command = click.Command("serve", params=[], callback=lambda data_dir, config: (data_dir, config))
    command = data_dir_option(config_option(command))
    options = ("--data-dir", folder / "closed", "--config", folder / "settings.toml")
    with another_user():
        data_dir, settings = command.main([str(each) for each in options], standalone_mode=False)
        with pytest.raises(
            StorageUnavailable, match=f"closed: {STRANGER} may not read and write it; it belongs to root"
        ):
            location.authority_exists(data_dir)
        with pytest.raises(StorageUnavailable, match="closed/inner: cannot be read: Permission denied"):
            location.authority_exists(data_dir / "inner")
        with pytest.raises(ConfigurationError, match=r"settings\.toml: cannot be read: Permission denied") as caught:
            config.load(settings)

    assert f"User {STRANGER} must be able to read it" in str(caught.value.hint)


def test_a_read_only_file_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.statvfs(tmp_path)
    read_only = os.statvfs_result((*here[:8], here.f_flag | os.ST_RDONLY, *here[9:]))
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)

    with pytest.raises(StorageUnavailable, match="is on a read-only file system"):
        location.prepare(tmp_path)
