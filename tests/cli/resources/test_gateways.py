"""``gateway``: its requests and its output."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.bench import COLLECTION, DEVICE, TOKEN, Api, Call, device

GATEWAY = "17kl14hm46h4c9"
GATEWAYS = f"/span/collections/{COLLECTION}/gateways"
PATH = f"{GATEWAYS}/{GATEWAY}"
DEVICE_PATH = f"/span/collections/{COLLECTION}/devices/{DEVICE}"
WHERE = ("-c", COLLECTION)

ROOF: dict[str, Any] = {
    "gatewayId": GATEWAY,
    "collectionId": COLLECTION,
    "name": "roof",
    "builtIn": False,
    "type": "lora",
    "config": {"user": {"params": {"region": "EU868"}}},
    "tags": {"floor": "3"},
    "status": "online",
    "enabled": True,
}
CIOT = ROOF | {"gatewayId": "3", "name": "Mobile network", "builtIn": True, "type": "ciot", "config": {}, "tags": {}}


async def test_gateways_are_listed_with_their_status() -> None:
    async with Api({f"GET {GATEWAYS}": {"gateways": [CIOT, ROOF]}}) as api:
        result = await api.run("gateway", "list", *WHERE)

    assert result.stdout.splitlines() == [
        "GATEWAY         TYPE  NAME            STATUS  ENABLED  TAGS",
        "3               ciot  Mobile network  online  yes",
        f"{GATEWAY}  lora  roof            online  yes      floor=3",
    ]


async def test_json_is_the_servers_document() -> None:
    async with Api({f"GET {GATEWAYS}": {"gateways": [ROOF]}, f"GET {PATH}": ROOF}) as api:
        listed = await api.run("gateway", "list", *WHERE, "--json")
        shown = await api.run("gateway", "get", *WHERE, GATEWAY, "--json")

    assert json.loads(listed.stdout) == {"gateways": [ROOF]}
    assert json.loads(shown.stdout) == ROOF


async def test_create_prints_the_id_and_the_next_step() -> None:
    """A gateway needs a certificate, and devices."""
    async with Api({f"POST {GATEWAYS}": ROOF}) as api:
        arguments = ("--name", "roof", "--type", "lora", "--param", "region=EU868", "--tag", "floor=3", "--enable")
        result = await api.run("gateway", "create", *WHERE, *arguments)

    assert result.stdout == f"{GATEWAY}\n"
    assert f"span-events cert create -c {COLLECTION} --gateway {GATEWAY}" in result.stderr
    body = {name: ROOF[name] for name in ("name", "type", "config", "tags", "enabled")}
    assert api.last == Call("POST", GATEWAYS, body, TOKEN)


async def test_creating_without_options_sends_only_given_fields() -> None:
    async with Api({f"POST {GATEWAYS}": ROOF}) as api:
        await api.run("gateway", "create", *WHERE)

    assert api.last.body == {}


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["--name", "cellar"], {"name": "cellar"}),
        (["--type", "matter"], {"type": "matter"}),
        (["--param", "a=b=c"], {"config": {"user": {"params": {"a": "b=c"}}}}),
        (["--tag", "a=", "--disable"], {"tags": {"a": ""}, "enabled": False}),
    ],
)
async def test_update_sends_only_the_given_options(arguments: list[str], body: object) -> None:
    async with Api({f"PATCH {PATH}": ROOF}) as api:
        result = await api.run("gateway", "update", *WHERE, GATEWAY, *arguments)

    assert result.exit_code == 0
    assert api.last == Call("PATCH", PATH, body, TOKEN)
    assert "config.user.params.region  EU868" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["update", *WHERE, GATEWAY], "Nothing to change"),
        (["update", *WHERE, GATEWAY, "--param", "x"], "'x' is not NAME=VALUE"),
        (["create", *WHERE, "--type", "ciot"], "'ciot' is not one of 'lora'"),
        (["attach", *WHERE, GATEWAY, "-d", DEVICE], "Missing option '--param'"),
    ],
)
async def test_wrong_options_are_refused_before_any_request(arguments: list[str], error: str) -> None:
    async with Api() as api:
        result = await api.run("gateway", *arguments)

    assert result.exit_code == 2
    assert error in result.stderr
    assert api.calls == []


async def test_the_gateway_may_come_from_the_environment() -> None:
    """As in Span's own command line."""
    async with Api({f"GET {PATH}": ROOF}) as api:
        env = {"SPAN_COLLECTION_ID": COLLECTION, "SPAN_GATEWAY_ID": GATEWAY}
        result = await api.run("gateway", "get", env=env)

    assert "name                       roof" in result.stdout


async def test_moving_names_the_target() -> None:
    other = "17dh0cf43jfgl9"
    async with Api({f"PATCH {PATH}": ROOF | {"collectionId": other}}) as api:
        await api.run("gateway", "move", *WHERE, GATEWAY, other)

    assert api.last.body == {"collectionId": other}


@pytest.mark.parametrize(("arguments", "stdin", "deleted"), [(["--yes"], None, True), ([], "n\n", False)])
async def test_deleting_asks_first(arguments: list[str], stdin: str | None, deleted: bool) -> None:
    async with Api({f"DELETE {PATH}": ROOF}) as api:
        result = await api.run("gateway", "delete", *WHERE, GATEWAY, *arguments, stdin=stdin)

    assert [call.method for call in api.calls] == ["DELETE"] * deleted
    assert result.stdout == (f"{GATEWAY}\n" if deleted else "")


async def test_certificates_of_a_gateway_are_listed() -> None:
    """The same as `cert list --gateway`."""
    reply = {"certificates": [{"certificateSerial": "4711", "expires": "4102444800000"}]}
    async with Api({f"GET {PATH}/certs": reply}) as api:
        here = await api.run("gateway", "certs", *WHERE, GATEWAY)
        there = await api.run("cert", "list", *WHERE, "--gateway", GATEWAY)

    assert here.stdout == there.stdout
    assert here.stdout.splitlines()[1].startswith("4711    valid")


async def test_devices_are_attached_and_detached() -> None:
    """Only the device's block for this gateway is removed."""
    async with Api({f"PATCH {DEVICE_PATH}": device()}) as api:
        attached = await api.run("gateway", "attach", *WHERE, GATEWAY, "-d", DEVICE, "--param", "devEui=00")
        detached = await api.run("gateway", "detach", *WHERE, GATEWAY, "-d", DEVICE)

    assert (attached.exit_code, detached.exit_code) == (0, 0)
    assert [call.body for call in api.calls] == [
        {"config": {"gateway": {GATEWAY: {"gatewayId": GATEWAY, "params": {"devEui": "00"}}}}},
        {"config": {"gateway": {GATEWAY: {}}}},
    ]
