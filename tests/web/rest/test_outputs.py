"""Outputs over REST: documents, changes, secrets, limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web.conftest import WebBench, web_bench

WEBHOOK = {
    "type": "webhook",
    "config": {"url": "https://example.com/hook", "basicAuthUser": "me", "basicAuthPass": "secret"},
    "tags": {"name": "hook"},
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API, with two outputs a collection."""
    async with web_bench(tmp_path, outputs={"per_collection": 2}) as bench:
        yield bench


async def test_an_output_is_created_changed_and_removed(api: WebBench) -> None:
    outputs = f"/span/collections/{await api.collection()}/outputs"
    made = (await api.call("POST", outputs, json=WEBHOOK)).body
    one = f"{outputs}/{made['outputId']}"
    change = {"config": {"basicAuthUser": "you", "content": "activity"}, "enabled": False, "tags": {"room": "lab"}}
    changed = (await api.call("PATCH", one, json=change)).body
    listed = (await api.call("GET", outputs)).body["outputs"]
    stored = (await api.fleet.store.load()).outputs
    removed = await api.call("DELETE", one)

    assert (made["type"], made["enabled"], made["config"]) == ("webhook", True, WEBHOOK["config"])
    assert changed["config"] == {"url": "https://example.com/hook", "basicAuthUser": "you", "basicAuthPass": "secret"}
    assert (changed["enabled"], changed["tags"]) == (False, {"name": "hook", "room": "lab"})
    assert listed == [changed]
    assert [(each.config.content, each.config.basic_auth_user, each.enabled) for each in stored] == [
        ("activity", "you", False)
    ]
    assert removed.body == changed
    assert (await api.call("GET", one)).status == 404
    assert (await api.fleet.store.load()).outputs == []


async def test_a_setting_that_there_is_not_is_ignored_with_a_warning(api: WebBench) -> None:
    """Also one that is spelt as ours are inside."""
    outputs = f"/span/collections/{await api.collection()}/outputs"
    config = {"url": "https://example.com/hook", "urll": "x", "basic_auth_user": 5}
    made = await api.call("POST", outputs, json={"type": "webhook", "config": config})

    assert (made.status, made.body["config"]) == (200, {"url": "https://example.com/hook"})
    assert "config.urll: there is no such field, it is ignored; did you mean config.url?" in made.headers["x-warning"]


async def test_only_tokens_that_may_write_see_passwords(api: WebBench) -> None:
    collection = await api.collection()
    outputs = f"/span/collections/{collection}/outputs"
    config = {"url": "https://example.com/hook?key=secret", "basicAuthUser": "me", "basicAuthPass": "secret"}
    made = (await api.call("POST", outputs, json=WEBHOOK | {"config": config})).body
    token = await api.token(f"/collections/{collection}")
    shown = await api.call("GET", f"{outputs}/{made['outputId']}", token=token)

    assert made["config"] == config
    assert shown.body["config"] == {"url": "https://example.com/hook", "basicAuthUser": "me"}
    assert (await api.call("POST", outputs, json=WEBHOOK, token=token)).status == 403


async def test_a_collection_has_a_limit_of_outputs_and_none_when_it_is_removed(api: WebBench) -> None:
    collection = f"/span/collections/{await api.collection()}"
    first, _, third = [await api.call("POST", f"{collection}/outputs", json=WEBHOOK) for _ in range(3)]
    refused = await api.call("DELETE", collection)

    assert first.status == 200
    assert third.problem == (429, "The collection has 2 outputs, as many as outputs.per_collection allows")
    assert refused.problem[0] == 409
    assert "still has 2 outputs" in refused.problem[1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "type"),
        ({"type": "pigeon"}, "type"),
        ({"type": "mqttbroker"}, "type"),
        ({"type": "webhook"}, "config.url"),
        ({"type": "udpout", "config": {"host": "a", "port": 70000}}, "config.port"),
        ({"type": "mqttclient", "config": {"endpoint": "a", "topicTemplate": "%"}}, "config.topicTemplate"),
    ],
)
async def test_a_wrong_field_is_named(api: WebBench, body: dict[str, object], field: str) -> None:
    reply = await api.call("POST", f"/span/collections/{await api.collection()}/outputs", json=body)

    assert reply.status == 400
    assert reply.body["field"] == field
