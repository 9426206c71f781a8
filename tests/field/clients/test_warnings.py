"""Unknown names in a request: accepted, ignored, and told in ``X-Warning`` with the nearest known name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.bench import run
from tests.web.conftest import WebBench, web_bench


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API."""
    async with web_bench(tmp_path) as bench:
        yield bench


async def warnings(api: WebBench, body: Any, *, query: str = "") -> list[str]:
    """Create a device and return the warnings."""
    collection = await api.collection()
    reply = await api.call("POST", f"/span/collections/{collection}/devices{query}", json=body)
    assert reply.status == 200
    return reply.headers.get("x-warning", "").split(", ")


async def test_clients_11_unknown_query_parameters_are_named(api: WebBench) -> None:
    assert await warnings(api, {}, query="?extendd=1") == [
        "extendd: there is no such query parameter",
        "it is ignored; did you mean extended?",
    ]


@pytest.mark.parametrize(
    ("body", "field", "near"),
    [
        ({"tag": {"name": "pump"}}, "tag", "tags"),
        ({"config": {"ciot": {"imsl": "242016000000001"}}}, "config.ciot.imsl", "config.ciot.imsi"),
        ({"firmware": {"targetFirmware": "0"}}, "firmware.targetFirmware", "firmware.targetFirmwareId"),
    ],
)
async def test_clients_11_unknown_fields_of_a_body_are_named(api: WebBench, body: Any, field: str, near: str) -> None:
    assert await warnings(api, body) == [f"{field}: there is no such field", f"it is ignored; did you mean {near}?"]


async def test_clients_11_unknown_fields_of_a_gateway_block_are_named_with_the_id(api: WebBench) -> None:
    collection = await api.collection()
    gateway = await api.gateway(collection)
    reply = await api.call(
        "POST",
        f"/span/collections/{collection}/devices",
        json={"config": {"gateway": {gateway: {"params": {"a": "b"}, "param": {}}}}},
    )

    assert reply.headers["x-warning"].startswith(f"config.gateway.{gateway}.param: there is no such field")


async def test_clients_11_known_and_read_only_fields_have_no_warning(api: WebBench) -> None:
    """Clients send back what they read."""
    collection = await api.collection()
    device = await api.device(collection, config={"ciot": {"imsi": "242016000000001"}})
    path = f"/span/collections/{collection}/devices/{device}"
    document = (await api.call("GET", f"{path}?extended=1")).body
    reply = await api.call("PATCH", path, json=document)

    assert reply.status == 200
    assert "x-warning" not in reply.headers


async def test_clients_11_a_warning_is_bounded_and_fit_for_a_header(api: WebBench) -> None:
    body = {f"{number}\r\nSet-Cookie: ünsafe" * 40: 1 for number in range(300)}
    collection = await api.collection()
    reply = await api.call("POST", f"/span/collections/{collection}/devices", json=body)
    (warning,) = (text for name, text in reply.headers.items() if name == "x-warning")

    assert reply.status == 200
    assert warning.startswith("0??Set-Cookie: ?nsafe0??")
    assert warning.endswith(", 292 more names are ignored")
    assert warning.isascii()
    assert len(warning) < 1_500
    assert "set-cookie" not in reply.headers


async def test_clients_11_a_refusal_has_the_warning_too(api: WebBench) -> None:
    """The misspelt field is why another one is missing."""
    collection = await api.collection()
    device = await api.device(collection)
    reply = await api.call("POST", f"/span/collections/{collection}/devices/{device}/outbox?extendd=1", json={})

    assert reply.problem == (400, "payload: is missing")
    assert "did you mean extended?" in reply.headers["x-warning"]


async def test_clients_11_an_image_has_warnings(api: WebBench) -> None:
    collection = await api.collection()
    body = {"image": "AAAA", "version": "1.0", "fileName": "x"}
    reply = await api.call("POST", f"/span/collections/{collection}/firmware", json=body)

    assert reply.headers["x-warning"].endswith("did you mean filename?")


async def test_clients_11_the_command_line_shows_warnings(api: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """On standard error, so that scripts read standard output as before."""
    monkeypatch.setattr("span_events.web.paths.QUERY", frozenset({"extend"}))
    found = await run("--endpoint", api.url, "--token", api.admin, "collection", "list", "--json")

    assert found.exit_code == 0
    assert "warning: extended: there is no such query parameter, it is ignored; did you mean extend?" in found.stderr
    assert "warning" not in found.stdout
