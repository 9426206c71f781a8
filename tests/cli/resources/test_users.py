"""``user``: straight into the registry of a data directory."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.bench import run

PASSWORD = "correct horse battery\n"


async def test_users_are_added_listed_and_deleted(tmp_path: Path) -> None:
    place = ("--data-dir", str(tmp_path))
    empty = await run("user", "list", *place)
    added = await run("user", "add", "Alice@example.com", "--write", "--password-stdin", *place, stdin=PASSWORD)
    again = await run("user", "add", "alice@example.com", "--password-stdin", *place, stdin=PASSWORD)
    changed = await run("user", "password", "alice@example.com", "--password-stdin", *place, stdin="123456789012\n")
    listed = await run("user", "list", "--json", *place)
    table = await run("user", "list", *place)
    deleted = await run("user", "delete", "alice@example.com", *place)
    gone = await run("user", "delete", "alice@example.com", *place)

    assert "span-events user add" in empty.stderr
    assert (added.exit_code, added.stdout) == (0, "alice@example.com\n")
    assert (again.exit_code, "There is a user alice@example.com already" in again.stderr) == (1, True)
    assert changed.exit_code == 0
    (user,) = json.loads(listed.stdout)["users"]
    assert user.keys() == {"userId", "email", "resource", "write", "created"}
    assert "alice@example.com" in table.stdout
    assert (deleted.exit_code, deleted.stdout) == (0, "alice@example.com\n")
    assert (gone.exit_code, "There is no user" in gone.stderr) == (1, True)


async def test_a_password_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    answers = PASSWORD * 2
    result = await run("user", "add", "alice", "--data-dir", str(tmp_path), stdin=answers)

    assert result.exit_code == 0
    assert "horse" not in result.output


async def test_a_short_password_and_an_unknown_resource_are_told(tmp_path: Path) -> None:
    place = ("--data-dir", str(tmp_path), "--password-stdin")
    short = await run("user", "add", "alice", *place, stdin="short\n")
    missing = await run("user", "add", "bob", "--resource", "/collections/17dh0cf43jfgl8", *place, stdin=PASSWORD)

    assert "characters, not 12 to 200" in short.stderr
    assert "warning: There is no collection 17dh0cf43jfgl8" in missing.stderr
