"""
What Span's own command line needs of the API (it crashes or complains otherwise).

Each test sends that program's request, and checks the fields that it dereferences.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from cryptography import x509

from tests.web.conftest import Reply, WebBench

AGENT = {"User-Agent": "OpenAPI-Generator/1.0.0/go", "Accept": "application/json"}


async def cli(api: WebBench, method: str, path: str, body: object = None) -> Reply:
    """Send a request as the generated Go client does, which parses a reply by its content type."""
    options: dict[str, Any] = {} if body is None else {"json": body}
    reply = await api.call(method, path, headers=AGENT, **options)

    assert reply.status < 300, reply.body
    assert re.match(r"application/json|text/json", reply.headers["content-type"])
    return reply


async def test_every_command_asks_for_the_version_first(api: WebBench) -> None:
    """Version 4.x keeps the command line silent; it asks without a token, and shows releaseName."""
    reply = await api.call("GET", "/span/system", token=None, headers=AGENT)

    assert reply.status == 200
    assert reply.body["version"].split(".")[0] == "4"
    assert reply.body["version"] > "4.6.0"
    assert reply.body["releaseName"]
    assert isinstance(reply.body["buildDate"], str)


async def test_dev_ls_needs_metadata_of_every_device(api: WebBench) -> None:
    """`dev ls` crashes on a device without a metadata object; an empty one is fine."""
    collection = await api.collection()
    await api.device(collection)
    await api.device(collection, metadata={"ciot": {"allocatedIp": "10.0.0.1"}})
    devices = (await cli(api, "GET", f"/span/collections/{collection}/devices")).body["devices"]

    assert [sorted(each["metadata"]) for each in devices] == [[], ["ciot"]]
    assert all(each["config"] is not None and each["tags"] is not None for each in devices)


async def test_dev_add_sends_empty_blocks(api: WebBench) -> None:
    """`dev add` always sends an empty target and config; a fresh device is Current, without images."""
    collection = await api.collection()
    body = {"tags": {"name": "x"}, "firmware": {"targetFirmwareId": ""}, "config": {}}
    device = (await cli(api, "POST", f"/span/collections/{collection}/devices", body)).body

    assert device["deviceId"]
    assert device["collectionId"] == collection
    assert device["tags"] == {"name": "x"}
    assert device["firmware"] == {
        "currentFirmwareId": "0",
        "targetFirmwareId": "0",
        "firmwareVersion": "",
        "serialNumber": "",
        "modelNumber": "",
        "manufacturer": "",
        "state": "Current",
        "stateMessage": "",
    }


async def test_dev_add_with_sim_sends_text(api: WebBench) -> None:
    """int64 are decimal strings in both directions."""
    collection = await api.collection()
    body = {"config": {"ciot": {"imsi": "242016000000001", "imei": "350000000000006"}}}
    device = (await cli(api, "POST", f"/span/collections/{collection}/devices", body)).body

    assert device["config"]["ciot"] == {"imsi": "242016000000001", "imei": "350000000000006"}


async def test_dev_get_needs_certs_and_params(api: WebBench) -> None:
    """`dev get` asks for certificates too, and reaches into params of each gateway block."""
    collection = await api.collection()
    gateway = await api.gateway(collection)
    block = {gateway: {"gatewayId": gateway, "params": {"devEui": "00"}}}
    device = await api.device(collection, config={"gateway": block})
    path = f"/span/collections/{collection}/devices/{device}"
    shown = (await cli(api, "GET", path)).body
    certificates = (await cli(api, "GET", f"{path}/certs")).body

    assert certificates == {"certificates": []}
    assert shown["config"]["gateway"] == block


async def test_dev_update_needs_the_device_in_the_reply(api: WebBench) -> None:
    """The command prints deviceId; the `tags: {}` in its request wipes nothing."""
    collection = await api.collection()
    device = await api.device(collection, tags={"name": "x"}, config={"ciot": {"imsi": "242016000000001"}})
    body = {"tags": {}, "config": {"ciot": {"imei": "350000000000006"}}}
    updated = (await cli(api, "PATCH", f"/span/collections/{collection}/devices/{device}", body)).body

    assert updated["deviceId"] == device
    assert updated["collectionId"] == collection
    assert updated["tags"] == {"name": "x"}
    assert updated["config"]["ciot"] == {"imsi": "242016000000001", "imei": "350000000000006"}


async def test_dev_delete_needs_the_device_in_the_reply(api: WebBench) -> None:
    """200 with the object, not 204."""
    collection = await api.collection()
    device = await api.device(collection)
    deleted = (await cli(api, "DELETE", f"/span/collections/{collection}/devices/{device}")).body

    assert (deleted["deviceId"], deleted["collectionId"]) == (device, collection)


async def test_col_update_and_delete_need_the_collection_in_the_reply(api: WebBench) -> None:
    """200 with the object, not 204."""
    collection = await api.collection(tags={"name": "x"})
    path = f"/span/collections/{collection}"
    updated = (await cli(api, "PATCH", path, {"tags": {}})).body
    deleted = (await cli(api, "DELETE", path)).body

    assert updated["collectionId"] == deleted["collectionId"] == collection
    assert updated["tags"] == deleted["tags"] == {"name": "x"}


async def test_col_get_accepts_lower_case_enumerations_only(api: WebBench) -> None:
    """The Go client rejects the whole document on any other spelling."""
    collection = await api.collection(firmware={"management": "device"})
    shown = (await cli(api, "GET", f"/span/collections/{collection}")).body

    assert shown["firmware"]["management"] == "device"


async def test_inbox_ls_of_a_collection_needs_the_device(api: WebBench) -> None:
    """`inbox ls` asks with limit=30 and reads device.deviceId, also of a removed device."""
    collection = await api.collection()
    device = await api.device(collection)
    api.receive(device, b"hi")
    path = f"/span/collections/{collection}/data?limit=30"
    there = (await cli(api, "GET", path)).body["data"]
    await api.call("DELETE", f"/span/collections/{collection}/devices/{device}")
    gone = (await cli(api, "GET", path)).body["data"]

    assert [each["device"]["deviceId"] for each in there + gone] == [device, device]
    assert base64.b64decode(there[0]["payload"]) == b"hi"
    assert there[0]["received"].isdigit()


async def test_inbox_ls_of_a_device(api: WebBench) -> None:
    """`inbox ls --device-id` lists MessageUpstream objects."""
    collection = await api.collection()
    device = await api.device(collection)
    message = api.receive(device, b"hi")
    path = f"/span/collections/{collection}/devices/{device}/inbox?limit=30"

    assert (await cli(api, "GET", path)).body["messages"] == [
        {
            "messageId": message,
            "collectionId": collection,
            "deviceId": device,
            "gatewayId": "3",
            "transport": "udp",
            "received": "1714076616000",
            "payload": "aGk=",
        }
    ]


async def test_outbox_add_ls_and_delete(api: WebBench) -> None:
    """`outbox watch` polls the list; `outbox delete` prints messageId."""
    collection = await api.collection()
    device = await api.device(collection)
    path = f"/span/collections/{collection}/devices/{device}/outbox"
    added = (await cli(api, "POST", path, {"payload": "aGk="})).body
    listed = (await cli(api, "GET", path)).body["messages"]
    deleted = (await cli(api, "DELETE", f"{path}/{added['messageId']}")).body

    assert listed == [added]
    assert added["state"] == "pending"
    assert (added["createdTime"], "sentTime" in added) == ("1714076616000", False)
    assert deleted["messageId"] == added["messageId"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/span/collections/zz", 400),
        ("GET", "/span/collections/1", 404),
        ("GET", "/span/collections/1/gateways", 404),
        ("DELETE", "/span/collections/{full}", 409),
    ],
)
async def test_errors_have_a_type_that_the_go_client_does_not_parse(
    api: WebBench, method: str, path: str, status: int
) -> None:
    """On 400, 401, 404, 409 and 500 of type application/json the client crashes; other types show status and title."""
    full = await api.collection()
    await api.device(full)
    reply = await api.call(method, path.format(full=full), headers=AGENT)

    assert reply.status == reply.body["status"] == status
    assert not re.search(r"(application|text)/(vnd\.[^;]+\+)?json", reply.headers["content-type"])
    assert isinstance(reply.body["title"], str)
    assert isinstance(reply.body["code"], int)


async def test_out_add_ls_get_update_logs_status_and_delete(api: WebBench) -> None:
    """`out add` sends all four fields, `out update` only what is given; `out ls` and `out logs` read lists."""
    collection, other = await api.collection(), await api.collection()
    outputs = f"/span/collections/{collection}/outputs"
    config = {"url": "https://example.com/hook", "customHeaderName": "X-A", "customHeaderValue": "b"}
    body = {"type": "webhook", "config": config, "enabled": True, "tags": {"name": "hook"}}
    added = (await cli(api, "POST", outputs, body)).body
    one = f"{outputs}/{added['outputId']}"
    listed = (await cli(api, "GET", outputs)).body
    shown = (await cli(api, "GET", one)).body
    updated = (await cli(api, "PATCH", one, {"config": {"url": "https://example.com/other"}})).body
    typed = (await cli(api, "PATCH", one, {"type": "udpout", "config": {"host": "192.0.2.1", "port": 4711}})).body
    logs = (await cli(api, "GET", f"{one}/logs")).body
    status = (await cli(api, "GET", f"{one}/status")).body
    moved = await api.call("PATCH", one, json={"collectionId": other}, headers=AGENT)
    deleted = (await cli(api, "DELETE", one)).body

    assert listed["outputs"] == [shown] == [added]
    assert (added["type"], added["enabled"], added["config"]) == ("webhook", True, config)
    assert updated["config"] == config | {"url": "https://example.com/other"}
    assert (typed["type"], typed["config"]["port"], typed["tags"]) == ("udpout", 4711, {"name": "hook"})
    assert logs == {"logs": []}
    assert (status["enabled"], status["errorCount"], status["forwarded"]) == (True, 0, 0)
    assert (status["received"], status["retransmits"]) == (0, 0)
    assert moved.problem[1] == "collectionId: an output stays in its collection"
    assert deleted["outputId"] == added["outputId"]


async def test_a_wrong_token_is_a_problem_too(api: WebBench) -> None:
    """The Go client would crash on a 401 of type application/json."""
    reply = await api.call("GET", "/span/collections", token="0" * 64, headers=AGENT)

    assert reply.problem[0] == 401
    assert reply.body["title"].startswith("The token is not known")


async def test_blob_get_sends_an_empty_token(api: WebBench) -> None:
    """After a login by JWT, `blob get` sends an empty X-API-Token and nothing else."""
    reply = await api.call("GET", "/span/collections", token=None, headers={"X-API-Token": ""})

    assert reply.problem == (401, "There is no token in the request: the header X-API-Token is empty")


async def test_cert_create_concatenates_the_certificates_of_the_reply(api: WebBench) -> None:
    """cert.crt is certificate and chain in their order; block 0 is the leaf, the last one the root."""
    collection = await api.collection()
    device = await api.device(collection)
    body = {"deviceId": device, "gatewayId": ""}
    made = (await cli(api, "POST", f"/span/collections/{collection}/certificates/create", body)).body
    file = base64.b64decode(made["certificate"]) + base64.b64decode(made["chain"])
    leaf, intermediate, root = x509.load_pem_x509_certificates(file)
    check = {"deviceId": device, "certificate": base64.b64encode(file).decode()}
    verified = (await cli(api, "POST", f"/span/collections/{collection}/certificates/verify", check)).body

    assert (leaf.issuer, intermediate.issuer, root.issuer) == (intermediate.subject, root.subject, root.subject)
    assert base64.b64decode(made["privateKey"]).startswith(b"-----BEGIN PRIVATE KEY-----")
    assert verified == {"valid": True, "errors": []}


async def test_dev_get_shows_certificates(api: WebBench) -> None:
    """`expires` is a decimal string of milliseconds."""
    collection = await api.collection()
    device = await api.device(collection)
    await cli(api, "POST", f"/span/collections/{collection}/certificates/create", {"deviceId": device})
    (found,) = (await cli(api, "GET", f"/span/collections/{collection}/devices/{device}/certs")).body["certificates"]

    assert found["certificateSerial"].isdigit()
    assert len(found["expires"]) == 13
    assert found["expires"].isdigit()


async def test_gw_add_ls_update_cert_and_delete(api: WebBench) -> None:
    """`gw add` always creates a custom one with params; the others print gatewayId, and `expires` as text."""
    collection = await api.collection()
    path = f"/span/collections/{collection}/gateways"
    body = {"name": "x", "type": "custom", "config": {"user": {"params": {"a": "b"}}}, "tags": {"name": "x"}}
    added = (await cli(api, "POST", path, body)).body
    listed = (await cli(api, "GET", path)).body["gateways"]
    one = f"{path}/{added['gatewayId']}"
    update: dict[str, Any] = {"tags": {}, "config": {"user": {"params": {}}}}
    updated = (await cli(api, "PATCH", one, update)).body
    owner = {"gatewayId": added["gatewayId"], "deviceId": ""}
    await cli(api, "POST", f"/span/collections/{collection}/certificates/create", owner)
    (certificate,) = (await cli(api, "GET", f"{one}/certs")).body["certificates"]
    deleted = (await cli(api, "DELETE", one)).body

    assert added in listed
    assert {each["type"] for each in listed} == {"ciot", "inet", "custom"}
    assert {each["status"] for each in listed} <= {"unknown", "offline", "online"}
    assert all(each["config"] and each["tags"] is not None and each["name"] for each in listed)
    assert updated == deleted == added
    assert certificate["certificateSerial"].isdigit()
    assert certificate["expires"].isdigit()


async def test_fw_upload_shows_the_created_image(api: WebBench) -> None:
    """The command sends no tags, and prints id, digest, version and length of the reply; with --eval only the id."""
    collection = await api.collection()
    body = {"image": base64.b64encode(b"octets").decode(), "version": "1.0.0", "filename": "fw.bin"}
    made = (await cli(api, "POST", f"/span/collections/{collection}/firmware", body)).body

    assert (made["version"], made["filename"], made["length"]) == ("1.0.0", "fw.bin", 6)
    assert made["imageId"]
    assert re.fullmatch("[0-9a-f]{64}", made["sha256"])


async def test_fw_ls_and_get_read_decimal_times(api: WebBench) -> None:
    """`created` is a decimal string of milliseconds, `length` a number; `fw get --version` looks through the list."""
    collection = await api.collection()
    image = await api.image(collection, "1.0.0")
    (listed,) = (await cli(api, "GET", f"/span/collections/{collection}/firmware")).body["images"]
    shown = (await cli(api, "GET", f"/span/collections/{collection}/firmware/{image}")).body

    assert listed == shown
    assert re.fullmatch("[0-9]{13}", listed["created"])
    assert type(listed["length"]) is int
    assert listed["tags"] == {}


async def test_fw_update_and_delete_need_the_image_back(api: WebBench) -> None:
    """`fw update` always sends tags, without any if none are named; both print the reply's id."""
    collection, other = await api.collection(), await api.collection()
    image = await api.image(collection)
    path = f"/span/collections/{collection}/firmware/{image}"
    replies = [
        await cli(api, "PATCH", path, {"tags": {"a": "b"}}),
        await cli(api, "PATCH", path, {"tags": {}, "version": "2.0"}),
        await cli(api, "PATCH", path, {"tags": {}, "collectionId": other}),
        await cli(api, "DELETE", f"/span/collections/{other}/firmware/{image}"),
    ]

    assert [each.body["imageId"] for each in replies] == [image] * 4
    assert replies[3].body["tags"] == {"a": "b"}


async def test_fw_mon_reads_firmware_of_every_device(api: WebBench) -> None:
    """The command polls the list of devices, and with --image-id compares two ids of each device."""
    collection = await api.collection()
    image = await api.image(collection)
    await api.device(collection)
    await api.device(collection, firmware={"targetFirmwareId": image})
    devices = (await cli(api, "GET", f"/span/collections/{collection}/devices")).body["devices"]

    assert [each["firmware"]["targetFirmwareId"] for each in devices] == ["0", image]
    assert all(isinstance(value, str) for each in devices for value in each["firmware"].values())


async def test_dev_update_sets_a_target(api: WebBench) -> None:
    """The command finds the image of a version in the list, and sends no other field of firmware."""
    collection = await api.collection()
    device, image = await api.device(collection), await api.image(collection)
    body = {"tags": {}, "firmware": {"targetFirmwareId": image}}
    changed = (await cli(api, "PATCH", f"/span/collections/{collection}/devices/{device}", body)).body

    assert changed["deviceId"] == device
    assert changed["firmware"]["targetFirmwareId"] == image


async def test_col_update_sets_management_and_target(api: WebBench) -> None:
    """Each alone, or both; absent fields keep their value."""
    collection = await api.collection()
    image = await api.image(collection)
    path = f"/span/collections/{collection}"
    found = [
        (await cli(api, "PATCH", path, {"tags": {}, "firmware": each})).body["firmware"]
        for each in (
            {"management": "device"},
            {"targetFirmwareId": image},
            {"management": "collection", "targetFirmwareId": image},
            {"management": "disabled"},
        )
    ]

    assert [(each["management"], each["targetFirmwareId"]) for each in found] == [
        ("device", "0"),
        ("device", image),
        ("collection", image),
        ("disabled", image),
    ]


async def test_fw_clear_needs_an_object_back(api: WebBench) -> None:
    """With and without an error."""
    collection = await api.collection()
    device = await api.device(collection)
    reply = await cli(api, "DELETE", f"/span/collections/{collection}/devices/{device}/fwerror")

    assert reply.body == {"result": "Current"}
