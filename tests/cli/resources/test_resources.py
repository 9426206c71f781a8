"""``collection``, ``device`` and ``outbox``: their requests and output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.bench import COLLECTION, DEVICE, MESSAGE, TOKEN, Api, Call, device, problem

COLLECTION_PATH = f"/span/collections/{COLLECTION}"
DEVICES = f"{COLLECTION_PATH}/devices"
DEVICE_PATH = f"{DEVICES}/{DEVICE}"
OUTBOX = f"{DEVICE_PATH}/outbox"

LAB = {"collectionId": COLLECTION, "tags": {"name": "lab"}, "enabled": True}


async def test_collections_are_listed_as_a_table() -> None:
    async with Api({"GET /span/collections": {"collections": [LAB]}}) as api:
        result = await api.run("collection", "list")

    assert result.stdout.splitlines() == ["COLLECTION      ENABLED  TAGS", f"{COLLECTION}  yes      name=lab"]


async def test_json_is_the_servers_document() -> None:
    async with Api({"GET /span/collections": {"collections": [LAB]}}) as api:
        result = await api.run("collection", "list", "--json")

    assert json.loads(result.stdout) == {"collections": [LAB]}


async def test_an_empty_list_prints_a_hint_on_standard_error_only() -> None:
    async with Api({"GET /span/collections": {"collections": []}}) as api:
        result = await api.run("collection", "list")

    assert result.stdout == ""
    assert "span-events collection create" in result.stderr


async def test_creating_prints_the_id_alone() -> None:
    """A script can use the id."""
    async with Api({"POST /span/collections": LAB}) as api:
        result = await api.run("collection", "create", "--tag", "name=lab", "--tag", "a=b=c")

    assert result.stdout == f"{COLLECTION}\n"
    assert api.last == Call("POST", "/span/collections", {"tags": {"name": "lab", "a": "b=c"}}, TOKEN)


async def test_a_tag_without_a_value_is_refused() -> None:
    async with Api() as api:
        result = await api.run("collection", "create", "--tag", "name")

    assert result.exit_code == 2
    assert "'name' is not NAME=VALUE" in result.stderr
    assert api.calls == []


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["--disable"], {"enabled": False}),
        (["--enable"], {"enabled": True}),
        (["--tag", "name=x"], {"tags": {"name": "x"}}),
    ],
)
async def test_update_sends_only_the_given_options(arguments: list[str], body: object) -> None:
    async with Api({f"PATCH {COLLECTION_PATH}": LAB}) as api:
        result = await api.run("collection", "update", COLLECTION, *arguments)

    assert result.exit_code == 0
    assert api.last.body == body


@pytest.mark.parametrize("command", [["collection", "update"], ["device", "update", "-c", COLLECTION]])
async def test_updating_nothing_is_refused_before_any_request(command: list[str]) -> None:
    async with Api() as api:
        result = await api.run(*command, COLLECTION)

    assert result.exit_code == 2
    assert "Nothing to change" in result.stderr
    assert api.calls == []


@pytest.mark.parametrize(
    ("arguments", "stdin", "deleted"),
    [(["--yes"], None, True), ([], "y\n", True), ([], "n\n", False), ([], "\n", False)],
)
async def test_deleting_asks_first(arguments: list[str], stdin: str | None, deleted: bool) -> None:
    async with Api({f"DELETE {COLLECTION_PATH}": LAB}) as api:
        result = await api.run("collection", "delete", COLLECTION, *arguments, stdin=stdin)

    assert [call.method for call in api.calls] == ["DELETE"] * deleted
    assert result.stdout == (f"{COLLECTION}\n" if deleted else "")
    assert result.exit_code == (0 if deleted else 1)


async def test_devices_are_listed_with_how_they_are_recognised() -> None:
    silent = device(deviceId="17kl14hm46h4c3", tags={}, config={}, metadata={}, lastReceived="0", enabled=False)
    async with Api({f"GET {DEVICES}": {"devices": [device(), silent]}}) as api:
        result = await api.run("device", "list", "-c", COLLECTION)

    heading, first, second = result.stdout.splitlines()
    assert heading.split() == ["DEVICE", "ADDRESS", "IMSI", "IMEI", "ENABLED", "LAST", "MESSAGE", "OVER", "TAGS"]
    assert first.startswith(f"{DEVICE}  10.0.0.17  242016000000123        yes      2024-05-0")
    assert first.endswith("coap  name=pump-3")
    assert second.split() == ["17kl14hm46h4c3", "no", "never"]


@pytest.mark.parametrize(
    ("ciot", "shown"),
    [
        ({"allocatedIp": "10.0.0.17", "allocatedPrefix": "2001:db8::/64", "staticIp": "10.0.0.17"}, "10.0.0.17"),
        ({"allocatedIp": "", "allocatedPrefix": "2001:db8::/64", "staticIp": "10.0.0.17"}, "2001:db8::/64"),
        ({"allocatedIp": "", "staticIp": "10.0.0.17"}, "(10.0.0.17)"),
    ],
)
async def test_a_device_is_listed_with_its_present_address(ciot: dict[str, str], shown: str) -> None:
    """With IPv6 alone the prefix; a reserved address in parentheses while the mobile network has not assigned it."""
    async with Api({f"GET {DEVICES}": {"devices": [device(metadata={"ciot": ciot})]}}) as api:
        result = await api.run("device", "list", "-c", COLLECTION)

    assert result.stdout.splitlines()[1].split()[1] == shown


async def test_a_table_in_a_pipe_is_never_cut() -> None:
    long = device(tags={"note": "x" * 500})
    async with Api({f"GET {DEVICES}": {"devices": [long]}}) as api:
        result = await api.run("device", "list", "-c", COLLECTION)

    assert "note=" + "x" * 500 in result.stdout
    assert len(result.stdout.splitlines()) == 2


async def test_control_characters_of_a_tag_do_not_reach_the_terminal() -> None:
    async with Api({f"GET {DEVICES}": {"devices": [device(tags={"name": "\x1b[2J[red]\u202e"})]}}) as api:
        result = await api.run("device", "list", "-c", COLLECTION)

    assert "\x1b" not in result.stdout
    assert "name=\\x1b[2J[red]\\u202e" in result.stdout


async def test_a_device_is_created_with_its_identities() -> None:
    async with Api({f"POST {DEVICES}": device()}) as api:
        result = await api.run(
            *("device", "create", "-c", COLLECTION, "--ip", "10.0.0.17", "--imsi", "242016000000123"),
            *("--imei", "", "--tag", "name=pump-3", "--disable"),
        )

    assert result.stdout == f"{DEVICE}\n"
    assert api.last.body == {
        "tags": {"name": "pump-3"},
        "enabled": False,
        "config": {"ciot": {"imsi": "242016000000123", "imei": ""}},
        "metadata": {"ciot": {"allocatedIp": "10.0.0.17"}},
    }


@pytest.mark.parametrize("arguments", [[], ["--ip", ""], ["--tag", "name=pump"]])
async def test_a_device_without_identities_is_listed_as_such(arguments: list[str]) -> None:
    """The device is created all the same; the id stands alone on standard output."""
    async with Api({f"POST {DEVICES}": device()}) as api:
        result = await api.run("device", "create", "-c", COLLECTION, *arguments)

    assert (result.exit_code, result.stdout) == (0, f"{DEVICE}\n")
    assert "hint: This device cannot be recognised yet" in result.stderr
    assert f"`span-events device update -c {COLLECTION} {DEVICE} --ip ADDRESS`" in result.stderr


@pytest.mark.parametrize("arguments", [["--ip", "10.0.0.17"], ["--imsi", "242016000000123"], ["--imei", "3" * 15]])
async def test_a_device_that_can_be_recognised_is_made_without_a_word(arguments: list[str]) -> None:
    async with Api({f"POST {DEVICES}": device()}) as api:
        result = await api.run("device", "create", "-c", COLLECTION, *arguments)

    assert result.stderr == ""


@pytest.mark.parametrize(
    ("field", "option"),
    [("metadata.ciot.allocatedIp", "--ip"), ("config.ciot.imsi", "--imsi"), ("config.ciot.imei", "--imei")],
)
@pytest.mark.parametrize("command", ["create", "update"])
async def test_a_refused_identity_is_named_by_its_option(command: str, field: str, option: str) -> None:
    """People gave an option; they never saw the document."""
    refused = (409, problem(409, f"{field}: 77 belongs to another device", field=field))
    async with Api({f"POST {DEVICES}": refused, f"PATCH {DEVICE_PATH}": refused}) as api:
        which = ["create"] if command == "create" else ["update", DEVICE]
        result = await api.run("device", *which, "-c", COLLECTION, option, "77")

    assert result.exit_code == 1
    assert f"error: {option}: 77 belongs to another device\n" in result.stderr


async def test_a_device_is_shown_field_by_field() -> None:
    async with Api({f"GET {DEVICE_PATH}": device(enabled=False, unset=0)}) as api:
        result = await api.run("device", "get", "-c", COLLECTION, DEVICE)

    shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert shown["deviceId"] == DEVICE
    assert shown["metadata.ciot.allocatedIp"] == "10.0.0.17"
    assert shown["lastPayload"] == "hello"
    assert shown["lastReceived"].startswith("2024-05-0")
    assert shown["enabled"] == "no"
    assert "unset" not in shown
    assert "firmware.currentFirmwareId" not in shown


async def test_ids_may_come_from_the_environment() -> None:
    async with Api({f"GET {DEVICE_PATH}": device()}) as api:
        result = await api.run("device", "get", env={"SPAN_COLLECTION_ID": COLLECTION, "SPAN_DEVICE_ID": DEVICE})

    assert result.exit_code == 0
    assert api.last.path == DEVICE_PATH


async def test_moving_names_the_other_collection() -> None:
    async with Api({f"PATCH {DEVICE_PATH}": device()}) as api:
        await api.run("device", "move", "-c", COLLECTION, DEVICE, "17dh0cf43jfgl9")

    assert api.last.body == {"collectionId": "17dh0cf43jfgl9"}


async def test_deleting_a_device_prints_its_id() -> None:
    async with Api({f"DELETE {DEVICE_PATH}": device()}) as api:
        result = await api.run("device", "delete", "-c", COLLECTION, DEVICE, "--yes")

    assert result.stdout == f"{DEVICE}\n"


async def test_the_outbox_is_listed_with_its_payloads() -> None:
    def message(state: str, payload: str) -> dict[str, str]:
        return {"messageId": MESSAGE, "state": state, "createdTime": "1715070269492", "payload": payload}

    listed = {"messages": [message("pending", "aGVsbG8="), message("failed", "AQID"), message("sent", "")]}
    async with Api({f"GET {OUTBOX}": listed}) as api:
        result = await api.run("outbox", "list", "-c", COLLECTION, "-d", DEVICE)

    _, text, binary, empty = (line.split() for line in result.stdout.splitlines())
    assert (text[:2], text[4:]) == ([MESSAGE, "pending"], ["5", "hello"])
    assert binary[4:] == ["3", "01", "02", "03"]
    assert empty[4:] == ["0"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "payload"),
    [
        (["grüße"], None, "Z3LDvMOfZQ=="),
        ([""], None, ""),
        (["--base64", "AQID"], None, "AQID"),
        (["--file", "-"], "hello", "aGVsbG8="),
    ],
)
async def test_a_message_is_queued(arguments: list[str], stdin: str | None, payload: str) -> None:
    async with Api({f"POST {OUTBOX}": {"messageId": MESSAGE}}) as api:
        result = await api.run("outbox", "add", "-c", COLLECTION, "-d", DEVICE, *arguments, stdin=stdin)

    assert result.stdout == f"{MESSAGE}\n"
    assert api.last.body == {"payload": payload}


async def test_a_message_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"\x01\x02\x03")
    async with Api({f"POST {OUTBOX}": {"messageId": MESSAGE}}) as api:
        await api.run("outbox", "add", "-c", COLLECTION, "-d", DEVICE, "--file", str(tmp_path / "message"))

    assert api.last.body == {"payload": "AQID"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "given 0 times"),
        (["text", "--base64", "AQID"], "given 2 times"),
        (["--base64", "?"], "'?' is not base64"),
        (["--file", "/nowhere/at/all"], "No such file"),
    ],
)
async def test_a_message_without_one_payload_is_refused(arguments: list[str], error: str) -> None:
    async with Api() as api:
        result = await api.run("outbox", "add", "-c", COLLECTION, "-d", DEVICE, *arguments)

    assert result.exit_code == 2
    assert error in result.stderr
    assert api.calls == []


async def test_a_message_is_taken_out_of_the_outbox() -> None:
    async with Api({f"DELETE {OUTBOX}/{MESSAGE}": {"messageId": MESSAGE}}) as api:
        result = await api.run("outbox", "delete", "-c", COLLECTION, "-d", DEVICE, MESSAGE)

    assert result.stdout == f"{MESSAGE}\n"
