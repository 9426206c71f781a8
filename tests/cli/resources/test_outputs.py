"""``output``: the requests of the commands, and what they print."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.bench import COLLECTION, Api

OUTPUT = "17kl1b3c9d4e20"
OUTPUTS = f"/span/collections/{COLLECTION}/outputs"
ONE = f"{OUTPUTS}/{OUTPUT}"
WEBHOOK: dict[str, Any] = {
    "outputId": OUTPUT,
    "collectionId": COLLECTION,
    "type": "webhook",
    "config": {"url": "https://example.com/hook"},
    "enabled": True,
    "tags": {"name": "hook"},
}
STATUS = {"outputId": OUTPUT, "forwarded": 12, "errorCount": 3, "dropped": 1, "failing": True}


@pytest.mark.parametrize(
    ("changes", "target", "state"),
    [
        ({}, "https://example.com/hook", "failing"),
        ({"enabled": False, "config": {"host": "h", "port": 4000}}, "h:4000", "disabled"),
        ({"config": {"eventName": "door"}}, "door", "failing"),
    ],
)
async def test_outputs_are_listed_with_their_health(changes: dict[str, Any], target: str, state: str) -> None:
    async with Api({f"GET {OUTPUTS}": {"outputs": [WEBHOOK | changes]}, f"GET {ONE}/status": STATUS}) as api:
        result = await api.run("output", "list", "-c", COLLECTION)
    headings, row = result.stdout.splitlines()

    assert headings.split() == ["OUTPUT", "TYPE", "TARGET", "STATE", "FORWARDED", "ERRORS", "DROPPED", "TAGS"]
    assert row.split() == [OUTPUT, "webhook", target, state, "12", "3", "1", "name=hook"]


@pytest.mark.parametrize("command", ["list", "logs"])
async def test_json_is_the_servers_document(command: str) -> None:
    documents: dict[str, dict[str, Any]] = {"list": {"outputs": [WEBHOOK]}, "logs": {"logs": []}}
    path = {"list": OUTPUTS, "logs": f"{ONE}/logs"}[command]
    async with Api({f"GET {path}": documents[command]}) as api:
        result = await api.run("output", command, "-c", COLLECTION, *([OUTPUT] if command == "logs" else []), "--json")

    assert json.loads(result.stdout) == documents[command]


async def test_add_sends_the_settings_and_prints_the_id() -> None:
    async with Api({f"POST {OUTPUTS}": WEBHOOK}) as api:
        result = await api.run(
            *("output", "add", "-c", COLLECTION, "udpout", "--set", "host=h", "--set", "port=4000"),
            *("--set", "asIsPayload=true", "--content", "activity", "--format", "span", "--tag", "name=x"),
        )
        call = api.last

    assert result.stdout == f"{OUTPUT}\n"
    assert call.body == {
        "type": "udpout",
        "config": {"content": "activity", "format": "span", "host": "h", "port": 4000, "asIsPayload": True},
        "tags": {"name": "x"},
    }


async def test_show_has_settings_and_counters() -> None:
    async with Api({f"GET {ONE}": WEBHOOK, f"GET {ONE}/status": STATUS}) as api:
        result = await api.run("output", "show", "-c", COLLECTION, OUTPUT)

    assert "https://example.com/hook" in result.stdout
    assert "12" in result.stdout


async def test_update_sends_changes_only() -> None:
    async with Api({f"PATCH {ONE}": WEBHOOK}) as api:
        await api.run("output", "update", "-c", COLLECTION, OUTPUT, "--url", "https://example.com/b", "--disable")
        call = api.last
        nothing = await api.run("output", "update", "-c", COLLECTION, OUTPUT)

    assert call.body == {"config": {"url": "https://example.com/b"}, "enabled": False}
    assert nothing.exit_code == 2


async def test_delete_asks_first() -> None:
    async with Api({f"DELETE {ONE}": WEBHOOK}) as api:
        kept = await api.run("output", "delete", "-c", COLLECTION, OUTPUT, stdin="n\n")
        deleted = await api.run("output", "delete", "-c", COLLECTION, OUTPUT, "--yes")

    assert kept.exit_code == 1
    assert deleted.stdout == f"{OUTPUT}\n"


async def test_logs_are_a_table_with_repetitions() -> None:
    entry = {"time": "1715070269492", "message": "targetFailed 500: broken", "repeated": 4}
    async with Api({f"GET {ONE}/logs": {"logs": [entry]}}) as api:
        result = await api.run("output", "logs", "-c", COLLECTION, OUTPUT, env={"TZ": "UTC"})
    _, row = result.stdout.splitlines()

    assert row.endswith("targetFailed 500: broken")
    assert " 5 " in row
