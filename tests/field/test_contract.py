"""Every reply of the REST API has only fields of Span's API document: its Java client fails on any other field."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import CertificateSigningRequestBuilder, Name

from span_events import ids
from span_events.events.message import Transport
from span_events.events.reasons import OutputReason
from span_events.fleet.outputs.health import Failure
from span_events.registry.model import CiotMetadata, FirmwareMetadata, InetMetadata
from span_events.web.app import REST
from tests.bench.links import FakeGateway
from tests.field.span_documents import OWN, REPLIES, Shape, foreign
from tests.web.conftest import WebBench, web_bench


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API."""
    async with web_bench(tmp_path) as bench:
        yield bench


WEBHOOK: Final = {
    "type": "webhook",
    "config": {
        "url": "http://example.com/x",
        "basicAuthUser": "a",
        "basicAuthPass": "b",
        "customHeaderName": "X-Key",
        "customHeaderValue": "c",
        "content": "activity",
        "format": "cloudevents",
    },
    "tags": {"name": "hook"},
}
"""A webhook with our own settings, too."""


class Scene:
    """A collection in which each resource has every state and every optional field."""

    def __init__(self, api: WebBench) -> None:
        self.api = api
        self.names: dict[str, str] = {}
        """Ids by the parameter of a path."""

    async def build(self) -> None:
        """Create the resources."""
        api = self.api
        names = self.names
        collection = names["collection"] = await api.collection(tags={"name": "lab"})
        base = f"/span/collections/{collection}"
        names["image"] = await api.image(collection)
        names["gateway"] = await api.gateway(collection, config={"user": {"params": {"a": "b"}}})
        block = {names["gateway"]: {"params": {"devEui": "00"}}}
        behind = await api.device(collection, config={"gateway": block}, tags={"name": "behind"})
        device = names["device"] = await api.device(
            collection, config={"ciot": {"imsi": "242016000000001", "imei": "357518080000128"}}
        )
        known = api.known(device)
        known.ciot = CiotMetadata(
            *("10.0.0.1", 1, "cell", 242, 1, "Norway", "Telenor", "NO", 5, "24201", "35"),
            *("2001:db8::/64", "10.0.0.2", "10.0.0.3", "2001:db8:1::/64"),
        )
        known.inet = InetMetadata(6, "10.0.0.2:1", "99")
        image = ids.parse(names["image"])
        known.firmware = FirmwareMetadata(
            state="Downloading",
            reported_ms=5,
            state_image_id=image,
            download_image_id=image,
            download_end=512,
            download_block=1,
            download_block_size=256,
            download_length=1024,
        )
        gateway = api.fleet.directory.gateways[ids.parse(names["gateway"])]
        fake = FakeGateway(api.fleet, gateway)
        fake.configure()
        fake.upstream(api.known(behind), b"hello", rssi="-90")
        gateway.reported, gateway.reported_ms = {"version": "1.0"}, 1
        for transport in (Transport.UDP, Transport.COAP):
            api.receive(device, transport=transport)
        for _ in range(2):
            queued = await api.call("POST", f"{base}/devices/{device}/outbox", json={"payload": "AA=="})
            names["message"] = queued.body["messageId"]
        waiting = api.fleet.outbox.next_for(known)
        assert waiting is not None
        api.fleet.outbox.sent(known, waiting, transport=Transport.COAP, cause=None)
        with api.fleet.blobs.upload(known, size=2, remote=("10.0.0.9", 4000), transport=Transport.HTTPS) as upload:
            await upload.write(b"hi")
            blob = await api.fleet.blobs.finish(upload, properties={"path": "/x"}, declared="")
            names["blob"] = ids.render(blob.id)
        made = await api.call("POST", f"{base}/outputs", json=WEBHOOK)
        names["output"] = made.body["outputId"]
        output = api.fleet.directory.outputs.find(ids.parse(collection), ids.parse(names["output"]))
        api.fleet.outputs_health.failed(output, "http://h", Failure(OutputReason.TIMEOUT))
        for owner in ({"deviceId": device}, {"gatewayId": names["gateway"]}):
            await api.call("POST", f"{base}/certificates/create", json=owner)
            made = await api.call("POST", f"{base}/certificates/create?extended=1", json=owner)
            await api.call("DELETE", f"{base}/certificates/{made.body['certificateSerial']}")
        psk = {"identity": b64encode(b"pump").decode(), "key": b64encode(bytes(16)).decode()}
        await api.call("PUT", f"{base}/devices/{device}/psk", json=psk)

    def body_of(self, method: str, path: str) -> dict[str, Any] | None:
        """Return a request body for a route; None for a route without a body."""
        what = path.rpartition("/")[2]
        owner = {"deviceId": self.names["device"]}
        signing = CertificateSigningRequestBuilder().subject_name(Name([]))
        csr = signing.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        bodies: dict[str, dict[str, Any]] = {
            "create": owner,
            "sign": owner | {"csr": b64encode(csr.public_bytes(serialization.Encoding.PEM)).decode()},
            "verify": owner | {"certificate": b64encode(b"x").decode()},
            "outbox": {"payload": "AA=="},
            "firmware": {"image": "AAAA", "version": "2.0"},
            "outputs": WEBHOOK,
        }
        return bodies.get(what, {}) if method in ("POST", "PATCH") else None

    async def call(self, method: str, path: str) -> Any:
        """Call a route and return the document of its reply."""
        query = "?upstream=true&downstream=true" if (method, path) == ("GET", "/span/collections/{collection}") else ""
        url = path.format(**self.names) + query
        reply = await self.api.call(method, url, json=self.body_of(method, path))
        assert reply.status == 200, (method, url, reply.body)
        return reply.body

    async def clear(self) -> None:
        """Remove what keeps the collection from being deleted."""
        base = f"/span/collections/{self.names['collection']}"
        for kind, key in (
            ("devices", "deviceId"),
            ("gateways", "gatewayId"),
            ("firmware", "imageId"),
            ("outputs", "outputId"),
        ):
            listed = (await self.api.call("GET", f"{base}/{kind}")).body
            for each in listed[kind if kind != "firmware" else "images"]:
                if not each.get("builtIn"):
                    await self.api.call("DELETE", f"{base}/{kind}/{each[key]}")


def in_order(route: tuple[str, str]) -> tuple[bool, int]:
    """Sort the deletions behind the others, the innermost first."""
    method, path = route
    return method == "DELETE", -path.count("/")


async def test_clients_01_every_reply_has_only_fields_of_spans_document(api: WebBench) -> None:
    """In a collection whose resources have all states: downloads, blobs, gateways, certificates, PSKs, outbox."""
    scene = Scene(api)
    await scene.build()
    found = []
    for method, path in sorted(REPLIES, key=in_order):
        if (method, path) == ("DELETE", "/span/collections/{collection}"):
            await scene.clear()
        document = await scene.call(method, path)
        found += [f"{method} {path}: {each}" for each in foreign(document, REPLIES[method, path])]

    assert found == []


def test_clients_01_the_contract_covers_every_route() -> None:
    """A new route is Span's, with the fields of its reply, or has a path of its own."""
    served = {(each.method, each.path) for module in REST for each in module.ROUTES}

    assert served == REPLIES.keys() | OWN


@pytest.mark.parametrize(
    ("value", "shape", "wrong"),
    [
        ({"a": "1"}, {"a": None}, []),
        ({"a": "1", "b": {"c": "2"}}, {"a": None}, [".b"]),
        ({"a": [{"b": "1", "c": "2"}]}, {"a": [{"b": None}]}, [".a[0].c"]),
        ({"any": {"b": "1"}}, {"*": {"a": None}}, [".any.b"]),
        ({"a": {"b": "1"}}, {"a": None}, [".a"]),
    ],
)
def test_the_contract_names_foreign_fields(value: Any, shape: Shape, wrong: list[str]) -> None:
    assert list(foreign(value, shape)) == wrong


async def test_clients_01_extended_replies_have_our_own_fields(api: WebBench) -> None:
    """With `?extended=1`, as the command line asks."""
    scene = Scene(api)
    await scene.build()
    found = {}
    for method, path in sorted(REPLIES, key=in_order):
        if method == "GET" or path.endswith(("/create", "/sign", "/fotastate", "{message}")):
            url = path.format(**scene.names) + "?extended=1"
            reply = await api.call(method, url, json=scene.body_of(method, path))
            own = {each.rpartition(".")[2] for each in foreign(reply.body, REPLIES[method, path])}
            if own:
                found[path.rpartition("/")[2]] = own

    assert found["system"] == {"spanEvents"}
    assert found["devices"] == found["{device}"] == {"block", "blockSize", "percent", "allocatedPrefix", "staticIp"}
    assert found["create"] == found["sign"] == {"certificateSerial", "expires"}
    assert found["certs"] == {"revoked"}
    assert found["fotastate"] == {"block", "blockSize", "percent"}
    assert found["outputs"] == found["{output}"] == {"content", "format"}
    assert found["status"] == {"waiting", "dropped", "failing"}
    assert found["gateways"] == found["{gateway}"] == {"metadata"}
    assert "createdTime" in found["{message}"]


@pytest.mark.parametrize("value", ["2", "yes"])
async def test_clients_01_extended_is_true_or_false(api: WebBench, value: str) -> None:
    reply = await api.call("GET", f"/span/collections?extended={value}")

    assert reply.problem == (400, f"extended: '{value}' is not true or false")


@pytest.mark.parametrize(("kind", "key"), [("devices", "deviceId"), ("gateways", "gatewayId"), ("firmware", "imageId")])
async def test_clients_11_limit_bounds_every_list(api: WebBench, kind: str, key: str) -> None:
    """Of devices, gateways and images, oldest first."""
    collection = await api.collection()
    for number in range(3):
        await api.device(collection)
        await api.gateway(collection)
        await api.image(collection, f"{number}.0")
    path = f"/span/collections/{collection}/{kind}"
    everything = next(iter((await api.call("GET", path)).body.values()))
    some = next(iter((await api.call("GET", f"{path}?limit=2")).body.values()))

    assert len(everything) >= 3
    assert [each[key] for each in some] == [each[key] for each in everything[:2]]


@pytest.mark.parametrize(
    ("transport", "gateway"),
    [(Transport.UDP, "3"), (Transport.COAP, "3"), (Transport.DTLS, "4"), (Transport.COAPS, "4")],
)
async def test_clients_03_a_direct_message_names_the_built_in_gateway(
    api: WebBench, transport: Transport, gateway: str
) -> None:
    """`ciot` (3) over UDP and CoAP, `inet` (4) over DTLS and CoAPS; at the message, the device, and in the lists."""
    collection = await api.collection()
    device = await api.device(collection)
    path = f"/span/collections/{collection}/devices/{device}"
    fresh = (await api.call("GET", path)).body["lastGatewayId"]
    api.receive(device, transport=transport)
    (data,) = (await api.call("GET", f"{path}/data")).body["data"]
    (inbox,) = (await api.call("GET", f"{path}/inbox")).body["messages"]
    listed = (await api.call("GET", f"/span/collections/{collection}/gateways")).body["gateways"]

    assert fresh == "0"
    assert (data["gatewayId"], data["device"]["lastGatewayId"], inbox["gatewayId"]) == (gateway,) * 3
    assert gateway in {each["gatewayId"] for each in listed if each["builtIn"]}


@pytest.mark.parametrize(("transport", "gateway"), [(Transport.HTTP, "3"), (Transport.HTTPS, "4")])
async def test_clients_03_a_blob_names_the_built_in_gateway(api: WebBench, transport: Transport, gateway: str) -> None:
    collection = await api.collection()
    known, blobs = api.known(await api.device(collection)), api.fleet.blobs
    with blobs.upload(known, size=2, remote=("10.0.0.9", 4000), transport=transport) as upload:
        await upload.write(b"hi")
        await blobs.finish(upload, properties={}, declared="")
    (blob,) = (await api.call("GET", f"/span/collections/{collection}/blobs")).body["blobs"]

    assert blob["gatewayId"] == gateway
