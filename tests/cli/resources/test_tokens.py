"""``token``: straight into the registry of a data directory."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from span_events import ids
from span_events.auth.tokens import Tokens
from span_events.clock import SystemClock
from span_events.config import RegistryConfig
from span_events.ids import IdGenerator
from span_events.registry import location
from span_events.registry.model import Collection, Device
from span_events.registry.store import Store
from tests.cli.bench import run


async def test_a_token_is_made_before_any_server_ran(tmp_path: Path) -> None:
    """The text stands alone on standard output; notes go to standard error."""
    data_dir = tmp_path / "a" / "b"
    result = await run("token", "create", "--data-dir", str(data_dir), "--resource", "/", "--write")

    assert re.fullmatch(r"[0-9a-f]{64}\n", result.stdout)
    assert "hint: token" in result.stderr
    assert data_dir.stat().st_mode & 0o777 == 0o700


async def test_the_data_directory_of_a_new_token_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a wrong folder, the command creates a token that no server knows."""
    monkeypatch.chdir(tmp_path)
    first = await run("token", "create")
    second = await run("token", "create", "--data-dir", "var")

    place = f"of the server whose data is in {tmp_path / 'var'}"
    assert f"{place} (new: no server has used it yet);" in first.stderr
    assert "--data-dir says where" in first.stderr
    assert f"{place}; its text" in second.stderr
    assert "--data-dir" not in second.stderr


async def test_a_token_for_a_missing_resource_is_created_with_a_warning(tmp_path: Path) -> None:
    """A slip in an id would be found much later: the token is valid, but reaches nothing."""
    store = Store(location.database_url(RegistryConfig(), tmp_path))
    await store.open()
    collection = Collection(ids.parse("17dh0cf43jfgl8"))
    device = Device(ids.parse("17kl14hm46h4c2"), collection)
    await store.put_collection(collection)
    await store.put_devices([device])
    await store.close()
    there, wrong = "/collections/17dh0cf43jfgl8", "/collections/17dh0cf43jfgl9"
    said = {
        resource: await run("token", "create", "--data-dir", str(tmp_path), "--resource", resource)
        for resource in (
            *("/", there, f"{there}/devices/17kl14hm46h4c2", f"{there}/gateways/3"),
            *(wrong, f"{wrong}/devices/17kl14hm46h4c2", f"{there}/devices/17kl14hm46h4c3"),
        )
    }

    assert [each.exit_code for each in said.values()] == [0] * 7
    assert all(re.fullmatch(r"[0-9a-f]{64}\n", each.stdout) for each in said.values())
    warnings = [each.stderr.partition(", so")[0] for each in said.values() if "warning" in each.stderr]
    registry = f"in the registry in {tmp_path}"
    assert warnings == [
        f"warning: There is no collection 17dh0cf43jfgl9 {registry}",
        f"warning: There is no collection 17dh0cf43jfgl9 {registry}",
        f"warning: There is no device 17kl14hm46h4c3 in collection 17dh0cf43jfgl8 {registry}",
    ]


async def test_a_server_on_the_same_data_finds_the_token_at_once(tmp_path: Path) -> None:
    """The registry stays open here, as in a server that runs."""
    store = Store(location.database_url(RegistryConfig(), tmp_path))
    await store.open()
    tokens = Tokens(store, IdGenerator(), SystemClock())
    await tokens.load()
    result = await run("token", "create", "--data-dir", str(tmp_path), "--name", "dashboard")
    found = await tokens.find(result.stdout.strip())
    assert found is not None
    deletion = await run("token", "delete", "--data-dir", str(tmp_path), ids.render(found.id))
    gone = await tokens.refresh()
    await store.close()

    assert (found.resource, found.write, found.name) == ("/", False, "dashboard")
    assert deletion.stdout == f"{ids.render(found.id)}\n"
    assert gone == [found]


async def test_tokens_are_listed_without_their_text(tmp_path: Path) -> None:
    made = await run("token", "create", "--data-dir", str(tmp_path), "--resource", "/collections/17dh0cf43jfgl8")
    listed = await run("token", "list", "--data-dir", str(tmp_path))
    as_json = await run("token", "list", "--data-dir", str(tmp_path), "--json")

    assert "/collections/17dh0cf43jfgl8  no " in listed.stdout
    assert made.stdout.strip() not in listed.stdout + as_json.stdout
    (token,) = json.loads(as_json.stdout)["tokens"]
    assert token["resource"] == "/collections/17dh0cf43jfgl8"
    assert token["write"] is False


async def test_deleting_an_unknown_token_fails(tmp_path: Path) -> None:
    result = await run("token", "delete", "--data-dir", str(tmp_path), "17kl14hm46h4c2")

    assert result.exit_code == 1
    assert "error: There is no token 17kl14hm46h4c2" in result.stderr


async def test_a_resource_that_nothing_has_is_refused(tmp_path: Path) -> None:
    result = await run("token", "create", "--data-dir", str(tmp_path), "--resource", "/gateways")

    assert result.exit_code == 1
    assert "hint: Use / for everything" in result.stderr


async def test_listing_a_data_directory_that_is_not_there_does_not_make_it(tmp_path: Path) -> None:
    result = await run("token", "list", "--data-dir", str(tmp_path / "elsewhere"))

    assert result.exit_code == 1
    assert "There is no data directory" in result.stderr
    assert not (tmp_path / "elsewhere").exists()


async def test_an_unusable_registry_exits_with_status_4(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"this is no database" * 100)
    result = await run("token", "list", "--data-dir", str(tmp_path))

    assert result.exit_code == 4
    assert "error: The registry" in result.stderr
    assert "hint: " in result.stderr


async def test_a_faulty_configuration_exits_with_status_2(tmp_path: Path) -> None:
    """Every fault at once, each with its path."""
    (tmp_path / "config.toml").write_text("[http]\nport = 70000\n[coap]\ncolour = 1\n")
    result = await run("token", "list", "--data-dir", str(tmp_path), "--config", str(tmp_path / "config.toml"))

    assert result.exit_code == 2
    assert "error: http.port: 70000 is above 65535\nerror: coap.colour: there is no such setting\n" in result.stderr


async def test_deleting_an_id_beyond_all_ids_fails_as_any_other(tmp_path: Path) -> None:
    """64 bits are an id, but the registry holds 63."""
    result = await run("token", "delete", "--data-dir", str(tmp_path), "acd772jnc9l0ld")

    assert result.exit_code == 1
    assert "error: There is no token acd772jnc9l0ld" in result.stderr


async def test_a_token_with_an_end_is_listed_with_it(tmp_path: Path) -> None:
    """And with its last use, which a server writes."""
    place = ("--data-dir", str(tmp_path))
    made = await run("token", "create", "--expires", "30d", "--json", *place)
    wrong = await run("token", "create", "--expires", "soon", *place)
    (listed,) = json.loads((await run("token", "list", "--json", *place)).stdout)["tokens"]
    table = (await run("token", "list", *place)).stdout

    assert int(listed["expires"]) - int(listed["created"]) == 30 * 86_400_000
    assert json.loads(made.stdout)["expires"] == listed["expires"]
    assert listed["lastUse"] == "0"
    assert "never" in table
    assert "'soon' is no time such as 500ms, 60s, 5m or 30d" in wrong.stderr
