"""Rights of a token over the identity of a device, and the answers that carry messages to the holder of its address."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from span_events.config import DatagramsConfig
from span_events.listeners.datagrams import Datagrams
from span_events.wire.coap.messages import Code, Type
from tests.bench.fleets import CAUSE, fleet_bench
from tests.bench.waiting import until
from tests.listeners.coap.bench import coap_bench, post
from tests.listeners.test_datagrams import Bench
from tests.web.conftest import Reply, WebBench, web_bench

ADDRESS, OTHER = "10.0.0.1", "10.0.0.2"
PSK = {"identity": b64encode(b"pump").decode(), "key": b64encode(bytes(16)).decode()}


@dataclass(frozen=True, slots=True)
class Lab:
    """A device of a tenant, and tokens that write."""

    api: WebBench
    path: str
    tenant: str
    own: str
    """Token for the one device."""

    async def patch(self, body: dict[str, Any], token: str) -> Reply:
        """Change the device."""
        return await self.api.call("PATCH", self.path, json=body, token=token)


async def make_lab(api: WebBench) -> Lab:
    collection = await api.collection()
    gateway = await api.gateway(collection)
    blocks = {gateway: {"params": {"devEui": "00"}}}
    metadata = {"ciot": {"allocatedIp": ADDRESS}}
    device = await api.device(collection, metadata=metadata, config={"gateway": blocks, "ciot": {"imsi": "242016"}})
    path = f"/span/collections/{collection}/devices/{device}"
    tenant = await api.token(f"/collections/{collection}", write=True)
    own = await api.token(path.removeprefix("/span"), write=True)
    return Lab(api, path, tenant, own)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """The default: tenants set no addresses."""
    async with web_bench(tmp_path) as api:
        yield await make_lab(api)


@pytest.mark.parametrize("field", ["allocatedIp", "staticIp"])
async def test_security_B2_a_tenant_sets_no_address(lab: Lab, field: str) -> None:
    """Neither of a new device nor of one that is there; the owner of the server does."""
    body = {"metadata": {"ciot": {field: OTHER}}}
    created = await lab.api.call("POST", lab.path.rpartition("/")[0], json=body, token=lab.tenant)
    changed = await lab.patch(body, lab.tenant)
    by_admin = await lab.patch(body, lab.api.admin)

    for refused in (created, changed):
        assert refused.problem[0] == 403
        assert f"metadata.ciot.{field}: only a token for / may set the address" in refused.problem[1]
        assert "cellular.tenants_set_addresses" in str(refused.body)
    assert by_admin.status == 200


async def test_security_B2_a_tenant_may_send_back_and_give_up_an_address(lab: Lab) -> None:
    """Clients send back what they read; the SIM, tags and the rest are the tenant's."""
    document = (await lab.api.call("GET", f"{lab.path}?extended=1")).body
    same = await lab.patch(document, lab.tenant)
    sim = await lab.patch({"config": {"ciot": {"imsi": "242017"}}}, lab.tenant)
    none = await lab.patch({"metadata": {"ciot": {"allocatedIp": ""}}}, lab.tenant)

    assert [each.status for each in (same, sim, none)] == [200, 200, 200]
    assert none.body["metadata"]["ciot"]["allocatedIp"] == ""


async def test_security_B2_a_leased_address_cannot_be_reserved_by_its_tenant(lab: Lab) -> None:
    """The present address from the mobile core is no own one."""
    device = next(iter(lab.api.fleet.directory.devices.values()))
    device.ciot.allocated_ip = OTHER
    reserved = await lab.patch({"metadata": {"ciot": {"staticIp": OTHER}}}, lab.tenant)

    assert reserved.problem[0] == 403


async def test_security_B2_tenants_set_addresses_if_the_configuration_says_so(tmp_path: Path) -> None:
    async with web_bench(tmp_path, cellular={"tenants_set_addresses": True}) as api:
        lab = await make_lab(api)
        changed = await lab.patch({"metadata": {"ciot": {"allocatedIp": OTHER}}}, lab.tenant)
        by_device = await lab.patch({"metadata": {"ciot": {"allocatedIp": ADDRESS}}}, lab.own)

    assert changed.body["metadata"]["ciot"]["allocatedIp"] == OTHER
    assert by_device.problem[0] == 403


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("metadata.ciot.allocatedIp", {"metadata": {"ciot": {"allocatedIp": ""}}}),
        ("metadata.ciot.staticIp", {"metadata": {"ciot": {"staticIp": OTHER}}}),
        ("config.ciot.imsi", {"config": {"ciot": {"imsi": "242017"}}}),
        ("config.ciot.imei", {"config": {"ciot": {"imei": "35751808000012"}}}),
        ("config.gateway", {"config": {"gateway": {"3": {"params": {"a": "b"}}}}}),
        ("enabled", {"enabled": False}),
    ],
)
async def test_security_B3_a_token_of_one_device_does_not_change_its_identity(
    lab: Lab, field: str, body: dict[str, Any]
) -> None:
    refused = await lab.patch(body, lab.own)

    assert refused.problem == (403, f"{field}: a token for one device changes its tags, firmware and outbox only")


@pytest.mark.parametrize(("method", "rest"), [("DELETE", ""), ("PUT", "/psk"), ("DELETE", "/psk")])
async def test_security_B3_a_token_of_one_device_does_not_change_its_existence_or_key(
    lab: Lab, method: str, rest: str
) -> None:
    """Its collection's token does."""
    await lab.api.call("PUT", f"{lab.path}/psk", json=PSK)
    body = PSK if method == "PUT" else None
    own = await lab.api.call(method, lab.path + rest, json=body, token=lab.own)
    tenant = await lab.api.call(method, lab.path + rest, json=body, token=lab.tenant)

    assert (own.status, tenant.status) == (403, 200)


async def test_security_B3_a_token_of_one_device_changes_tags_firmware_and_outbox(lab: Lab) -> None:
    """And sends back the document that it read."""
    image = await lab.api.image(lab.path.split("/")[3])
    document = (await lab.api.call("GET", f"{lab.path}?extended=1", token=lab.own)).body
    calls = [
        await lab.patch(document | {"tags": {"room": "lab"}}, lab.own),
        await lab.patch({"firmware": {"targetFirmwareId": image}}, lab.own),
        await lab.api.call("POST", f"{lab.path}/outbox", json={"payload": "AA=="}, token=lab.own),
        await lab.api.call("DELETE", f"{lab.path}/fwerror", token=lab.own),
    ]

    assert [each.status for each in calls] == [200] * 4


async def test_security_B3_a_conflict_does_not_say_whose_the_value_is(lab: Lab) -> None:
    """A tenant learns that a SIM, hardware, address or PSK identity is taken, and nothing about the other tenant."""
    collection = await lab.api.collection()
    device = await lab.api.device(collection)
    identity = {"imsi": "242016000000001", "imei": "35751808000012"}
    await lab.patch({"config": {"ciot": identity}}, lab.api.admin)
    await lab.api.call("PUT", f"{lab.path}/psk", json=PSK)
    mine = f"/span/collections/{collection}/devices/{device}"
    tenant = await lab.api.token(f"/collections/{collection}", write=True)
    refused = [
        await lab.api.call("PATCH", mine, json={"config": {"ciot": {name: value}}}, token=tenant)
        for name, value in identity.items()
    ]
    refused.append(await lab.api.call("PUT", f"{mine}/psk", json=PSK, token=tenant))
    address = {"metadata": {"ciot": {"allocatedIp": ADDRESS}}}
    refused.append(await lab.api.call("PATCH", mine, json=address))

    owner = lab.path.split("/")
    for each in refused:
        assert each.problem[0] == 409
        assert not {owner[3], owner[5]} & set(str(each.body).replace("'", " ").split())


async def test_security_B1_plain_udp_fetches_no_message_if_so_configured(tmp_path: Path) -> None:
    """A forged octet would fetch and use up a waiting message."""
    async with fleet_bench(tmp_path, downstream={"plain_udp": False}) as fleet:
        listener = Datagrams(DatagramsConfig(port=0), reception=fleet.reception, outbox=fleet.outbox)
        await listener.start()
        bench = Bench(fleet, listener)
        device = await fleet.device("127.0.0.1")
        await fleet.outbox.queue(device, b"open", cause=CAUSE)
        with closing(bench.client()) as client:
            client.sendto(b"x", bench.target)
            await until(lambda: "upstreamMessage" in fleet.names)
            with pytest.raises(BlockingIOError):
                client.recv(99)
        await listener.stop()

        assert fleet.outbox.next_for(device) is not None


@pytest.mark.parametrize("code", [Code.POST, Code.GET])
async def test_security_B1_a_nonconfirmable_request_fetches_no_message_if_so_configured(
    tmp_path: Path, code: Code
) -> None:
    """A confirmable one does: its response is repeated until it arrives."""
    async with coap_bench(tmp_path, downstream={"require_coap_con": True}) as coap:
        await coap.queue(b"open")
        by_non = await coap.client.exchange(post(kind=Type.NON, code=code, message_id=1))
        by_con = await coap.client.exchange(post(kind=Type.CON, code=code, message_id=2))

    assert (by_non.payload, by_con.payload) == (b"", b"open")
