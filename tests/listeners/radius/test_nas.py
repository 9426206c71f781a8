"""The NAS of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from span_events.config import RadiusConfig
from span_events.listeners.radius.nas import NasTable


def table(**addresses: list[str]) -> NasTable:
    """A table of NAS with these addresses."""
    entries = [{"name": name, "addresses": given, "secret": f"of {name}"} for name, given in addresses.items()]
    return NasTable(RadiusConfig.model_validate({"nas": entries}))


TABLE = table(
    wide=["10.0.0.0/8", "2001:db8::/32"],
    narrow=["10.1.0.0/16", "2001:db8:1::/48"],
    single=["10.1.0.7", "2001:db8:1::7", "127.0.0.1"],
)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("10.0.0.1", "wide"),
        ("10.1.0.1", "narrow"),
        ("10.1.0.7", "single"),
        ("127.0.0.1", "single"),
        ("11.0.0.0", None),
        ("9.255.255.255", None),
        ("2001:db8:2::1", "wide"),
        ("2001:db8:1::1", "narrow"),
        ("2001:db8:1::7", "single"),
        ("2001:db9::", None),
        ("::a01:7", None),
        ("fe80::1%lo", None),
    ],
)
def test_the_longest_matching_prefix_wins(host: str, name: str | None) -> None:
    """For each address family; an address in no prefix has no NAS."""
    for _ in range(2):  # the second time it is remembered
        found = TABLE.find(host)

        assert (found and found.name) == name


def test_a_secret_belongs_to_its_nas() -> None:
    """In UTF-8, and not visible in a log."""
    entries = [{"name": "a", "addresses": ["10.0.0.1"], "secret": "grün"}]
    (nas,) = NasTable(RadiusConfig.model_validate({"nas": entries})).entries

    assert nas.secret == "grün".encode()
    assert nas.has_short_secret
    assert "gr" not in repr(nas)


@pytest.mark.parametrize(("mode", "readable"), [(0o600, False), (0o640, False), (0o644, True), (None, False)])
def test_a_secret_file_readable_by_all_users_is_noticed(tmp_path: Path, mode: int | None, readable: bool) -> None:
    """A group may have access; a removed file is not reported."""
    file = tmp_path / "secret"
    file.write_text("an invented one")
    entries = [{"name": "a", "addresses": ["10.0.0.1"], "secret_file": str(file)}]
    (nas,) = NasTable(RadiusConfig.model_validate({"nas": entries})).entries
    if mode is None:
        file.unlink()
    else:
        file.chmod(mode)

    assert nas.has_readable_secret is readable


def test_only_a_nas_with_accounting_is_asked_for_interim_updates() -> None:
    """An interval of 0 requests none."""
    kinds: list[dict[str, Any]] = [{}, {"accounting": False}, {"interim_interval": 0}]
    entries = [{"name": f"{at}", "addresses": [f"10.0.0.{at}"], "secret": "s"} | kind for at, kind in enumerate(kinds)]
    usual, silent, lazy = NasTable(RadiusConfig.model_validate({"nas": entries})).entries

    assert list(usual.settings) == [(85, bytes.fromhex("00000258"))]
    assert not silent.settings
    assert not lazy.settings
