"""Settings as first-time users set them: by environment, with mistakes, and from an installed copy."""

from __future__ import annotations

import json
import os
import stat
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from span_events import config as configuration
from span_events.config import Config
from span_events.config.sections.base import entry_of
from span_events.config.sections.config import sections
from span_events.errors import ConfigurationError
from tests.bench.ports import FREE_VARIABLES
from tests.bench.programs import PROGRAM, Program
from tests.bench.programs import run as run_program
from tests.cli.bench import run
from tests.field.serving import serve

SETTINGS = [(name, key) for name, section in sections() for key in section.model_fields]
NAS = {"name": "pgw1", "addresses": ["192.0.2.10"], "secret": "sixteen octets!!"}


def texts(value: object) -> Iterator[str]:
    """Write a value as people write it into a variable."""
    if isinstance(value, tuple):
        yield json.dumps([str(each) for each in value])
        yield ",".join(map(str, value))
    elif isinstance(value, bool):
        yield from (str(value).lower(), str(int(value)))
    else:
        yield str(value)


@pytest.mark.parametrize(("table", "key"), SETTINGS, ids=[".".join(each) for each in SETTINGS])
def test_clients_04_every_setting_can_be_set_by_environment(
    monkeypatch: pytest.MonkeyPatch, table: str, key: str
) -> None:
    default = getattr(getattr(Config(), table), key)
    for text in texts(default):
        if text:  # an empty list is JSON's
            monkeypatch.setenv(f"SPAN_EVENTS_{table}__{key}".upper(), text)
            assert getattr(getattr(configuration.load(), table), key) == default, text


def test_clients_04_lists_are_json_or_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of tables are JSON."""
    monkeypatch.setenv("SPAN_EVENTS_PKI__SERVER_NAMES", "a.example, 192.0.2.1")
    monkeypatch.setenv("SPAN_EVENTS_RADIUS__NAS", json.dumps([NAS]))
    monkeypatch.setenv("SPAN_EVENTS_FIRMWARE__BLOCK_SIZE", "512")
    found = configuration.load()

    assert found.pki.server_names == ("a.example", "192.0.2.1")
    assert [each.name for each in found.radius.nas] == ["pgw1"]
    assert found.firmware.block_size == 512


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        (
            "RADIUS__NAS",
            "x",
            "radius.nas: what stands there is not a list; a list of tables in the environment is JSON",
        ),
        ("FIRMWARE__BLOCK_SIZE", "100", "firmware.block_size: 100 is not 16, 32, 64"),
        (
            "HTTP__ALLOWED_ORIGINS",
            "example.com",
            "'example.com' is no origin, as it has no scheme: https://example.com",
        ),
        (
            "HTTP__ALLOWED_ORIGINS",
            "https://a.example/x",
            "'https://a.example/x' is no origin, as it does not end after",
        ),
    ],
)
def test_clients_11_a_wrong_value_is_named_in_our_words(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, fault: str
) -> None:
    monkeypatch.setenv(f"SPAN_EVENTS_{variable}", value)
    with pytest.raises(ConfigurationError) as caught:
        configuration.load()

    assert fault in str(caught.value)


async def test_clients_11_a_missing_file_is_not_a_wrong_setting(tmp_path: Path) -> None:
    result = await run("serve", "--data-dir", str(tmp_path), "--config", str(tmp_path / "none.toml"))

    assert result.exit_code == 2
    assert "none.toml: cannot be read: No such file or directory" in result.stderr
    assert "hint: Check the path after --config" in result.stderr


async def test_clients_11_a_database_without_its_driver_is_not_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)  # as if it were not installed
    variables = {"SPAN_EVENTS_REGISTRY__URL": "postgresql+asyncpg://user:secret@127.0.0.1/x"}
    result = await run("token", "list", "--data-dir", str(tmp_path), env=variables)

    assert result.exit_code == 4
    assert "needs a driver" in result.stderr
    assert "hint: Install the driver: pip install 'span-events[postgresql]'" in result.stderr
    assert "secret" not in result.stderr


def test_core_13_a_bom_is_skipped(tmp_path: Path) -> None:
    """Editors of Windows write it: into the file, and into that of a secret."""
    secret, file = tmp_path / "secret", tmp_path / "file.toml"
    secret.write_text("\ufeffsixteen octets!!\n", encoding="utf-8")
    nas = f'[[radius.nas]]\nname = "a"\naddresses = ["192.0.2.1"]\nsecret_file = "{secret}"\n'
    file.write_text(f"\ufeff{nas}", encoding="utf-8")

    assert configuration.load(file).radius.nas[0].secret.get_secret_value() == "sixteen octets!!"


async def test_clients_10_config_show_is_a_file_with_every_setting(tmp_path: Path) -> None:
    """With the values in use, but no secret; an installed copy has no other."""
    plain = await run("config", "show")
    file = tmp_path / "mine.toml"
    nas = "".join(f"{name} = {json.dumps(value)}\n" for name, value in NAS.items())
    file.write_text(f'[coap]\nport = 5700\n[pki]\nserver_names = ["a.example"]\n[[radius.nas]]\n{nas}')
    shown = await run("config", "show", "--config", str(file), env={"SPAN_EVENTS_LOG__LEVEL": "debug"})
    values = tomllib.loads(shown.stdout)

    assert plain.stdout == configuration.render_file()
    assert (values["coap"]["port"], values["log"]["level"]) == (5700, "debug")
    assert values["radius"]["nas"][0]["name"] == "pgw1"
    assert str(NAS["secret"]) not in shown.stdout
    assert all(key in values[table] for table, key in SETTINGS if entry_of(_field(table, key)) is None)


async def test_clients_10_config_check_and_path(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[coap]\nport = 5700\n")
    bad.write_text("[coap]\nport = -1\n")
    results = [await run("config", "check", "--config", str(each)) for each in (good, bad)]
    path = await run("config", "path", "--config", str(good), env={"SPAN_EVENTS_LOG__LEVEL": "debug"})

    assert [each.exit_code for each in results] == [0, 2]
    assert "error: coap.port: -1 is below 0" in results[1].stderr
    assert str(good) in path.stdout
    assert "SPAN_EVENTS_LOG__LEVEL" in path.stdout
    assert str(Path.cwd() / "var") in path.stdout


@pytest.mark.parametrize("terminal", [False, True])
async def test_clients_10_without_a_terminal_the_first_token_goes_to_a_file(tmp_path: Path, terminal: bool) -> None:
    """Standard output may be a journal, which more people read than the data directory."""
    path = tmp_path / "data" / "admin-token"
    async with Program(*serve(tmp_path), environment=FREE_VARIABLES, terminal=terminal) as program:
        shown = []
        while "Ctrl-C" not in (line := await program.line()):
            shown.append(line)
    text = "\n".join(shown)

    if terminal:
        assert "Admin token (may do everything; shown this once, keep it):" in text
        assert not path.exists()
        return
    token = path.read_text()
    assert str(path) in text
    assert token.strip() not in text
    assert len(token) == 65
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_clients_10_hints_name_the_program_as_it_is_installed(tmp_path: Path) -> None:
    """By its name where the shell finds it, as after pipx; by its path elsewhere."""
    found = {"PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"}
    shown = []
    for path in (found, {"PATH": "/usr/bin:/bin"}):
        command = (PROGRAM, "serve", "--demo", "--data-dir", str(tmp_path))
        async with Program(*command, environment={**FREE_VARIABLES, **path}) as program:
            lines = []
            while "Ctrl-C" not in (line := await program.line()):
                lines.append(line)
        shown.append("\n".join(lines))
    help_text = await run_program(PROGRAM, "serve", "--help")

    assert "\n  span-events --endpoint http://" in shown[0]
    assert "/span-events --endpoint http://" in shown[1]
    assert "config/span-events.toml" not in help_text.output


def _field(table: str, key: str) -> FieldInfo:
    return dict(sections())[table].model_fields[key]
