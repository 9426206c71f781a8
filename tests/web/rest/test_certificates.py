"""Certificates and pre-shared keys through the API."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from span_events.registry.model import Psk
from tests.bench.authorities import certificates_in
from tests.pki.test_requests import request
from tests.web.conftest import Reply, WebBench

KEY = bytes(range(16))
IDENTITY = b64encode(b"pump-3").decode()


def pem(reply: Reply, field: str) -> bytes:
    """Read a field that is base64 of PEM."""
    assert reply.status == 200, reply.body
    return b64decode(reply.body[field], validate=True)


class Lab:
    """A collection with a device."""

    def __init__(self, api: WebBench, collection: str, device: str) -> None:
        self.api = api
        self.collection = collection
        self.device = device
        self.certificates = f"/span/collections/{collection}/certificates"
        self.path = f"/span/collections/{collection}/devices/{device}"

    async def post(self, what: str, **body: Any) -> Reply:
        """Ask something about the device's certificates."""
        body = {"deviceId": self.device} | body
        return await self.api.call("POST", f"{self.certificates}/{what}?extended=1", json=body)

    async def put_psk(self, **body: Any) -> Reply:
        """Give the device a key."""
        body = {"identity": IDENTITY, "key": b64encode(KEY).decode()} | body
        return await self.api.call("PUT", f"{self.path}/psk", json=body)


@pytest.fixture
async def lab(api: WebBench) -> Lab:
    collection = await api.collection()
    return Lab(api, collection, await api.device(collection))


async def test_create_gives_key_certificate_and_chain(lab: Lab) -> None:
    """Each base64 of PEM, as Span's own command line writes them into cert.crt and key.pem."""
    reply = await lab.post("create")
    leaf, intermediate, root = certificates_in(pem(reply, "certificate") + pem(reply, "chain"))
    key = load_pem_private_key(pem(reply, "privateKey"), password=None)

    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == leaf.public_key()
    assert pem(reply, "privateKey").startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert reply.body["certificateSerial"] == str(leaf.serial_number)
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("kind", "made"), [("rsa", rsa.RSAPublicKey), ("ec", ec.EllipticCurvePublicKey), ("", object)])
async def test_the_kind_of_key_can_be_chosen(lab: Lab, kind: str, made: type) -> None:
    reply = await lab.post("create", keyType=kind)

    assert isinstance(certificates_in(pem(reply, "certificate"))[0].public_key(), made)


async def test_sign_takes_a_request(lab: Lab) -> None:
    """The key stays with its owner; the reply contains none."""
    key = ec.generate_private_key(ec.SECP256R1())
    reply = await lab.post("sign", csr=b64encode(request(key, hashes.SHA256())).decode())

    assert certificates_in(pem(reply, "certificate"))[0].public_key() == key.public_key()
    assert len(certificates_in(pem(reply, "chain"))) == 2
    assert "privateKey" not in reply.body
    bad = await lab.post("sign", csr=b64encode(b"nonsense").decode())
    assert bad.problem == (400, "csr: is not PEM: there is no line -----BEGIN CERTIFICATE REQUEST-----")
    assert bad.body["field"] == "csr"
    assert (await lab.post("sign")).problem == (400, "csr: is missing")


async def test_verify_gives_reasons(lab: Lab) -> None:
    made = await lab.post("create")
    good = await lab.post("verify", certificate=made.body["certificate"])
    await lab.api.call("DELETE", f"{lab.certificates}/{made.body['certificateSerial']}")
    bad = await lab.post("verify", certificate=made.body["certificate"])

    assert good.body == {"valid": True, "errors": []}
    assert bad.body == {"valid": False, "errors": ["was revoked at 2024-04-25 20:23:36 UTC"]}


async def test_the_chain_is_shown(lab: Lab) -> None:
    """With and without the id of a device, which must exist."""
    created = await lab.post("create")
    for query in ("", f"?deviceId={lab.device}", "?deviceId="):
        reply = await lab.api.call("GET", lab.certificates + query)

        assert reply.body == {"chain": created.body["chain"]}
    missing = await lab.api.call("GET", f"{lab.certificates}?deviceId=17")
    assert missing.problem == (404, f"There is no device 17 in collection {lab.collection}")
    gateway = await lab.api.call("GET", f"{lab.certificates}?gatewayId=17")
    assert gateway.problem == (404, f"There is no gateway 17 in collection {lab.collection}")
    wrong = await lab.api.call("GET", f"{lab.certificates}?deviceId=XYZ")
    assert wrong.problem[1].startswith("deviceId: 'XYZ' is not a device id")


async def test_a_device_lists_its_certificates(lab: Lab) -> None:
    """Serial numbers and times as text; a revoked one has its time."""
    assert (await lab.api.call("GET", f"{lab.path}/certs")).body == {"certificates": []}
    first = (await lab.post("create")).body
    lab.api.fleet.clock.shift(60)
    second = (await lab.post("create")).body
    revoked = await lab.api.call("DELETE", f"{lab.certificates}/{first['certificateSerial']}")
    reply = await lab.api.call("GET", f"{lab.path}/certs?extended=1")

    assert reply.body == {
        "certificates": [
            {"certificateSerial": second["certificateSerial"], "expires": "1715286276000"},
            {"certificateSerial": first["certificateSerial"], "expires": "1715286216000", "revoked": "1714076676000"},
        ]
    }
    assert revoked.body == reply.body["certificates"][1]


async def test_a_gateway_gets_certificates_like_a_device(lab: Lab) -> None:
    """Created, signed, verified, listed, revoked; the certificate names the gateway."""
    gateway = await lab.api.gateway(lab.collection)
    owner = {"deviceId": None, "gatewayId": gateway}
    path = f"/span/collections/{lab.collection}/gateways/{gateway}/certs?extended=1"
    made = await lab.post("create", **owner)
    leaf = certificates_in(pem(made, "certificate"))[0]
    key = ec.generate_private_key(ec.SECP256R1())
    signed = await lab.post("sign", **owner, csr=b64encode(request(key, hashes.SHA256())).decode())
    good = await lab.post("verify", **owner, certificate=made.body["certificate"])
    devices = await lab.post("verify", certificate=made.body["certificate"])
    serial = made.body["certificateSerial"]
    await lab.api.call("DELETE", f"{lab.certificates}/{serial}")
    listed = (await lab.api.call("GET", path)).body["certificates"]
    chain = await lab.api.call("GET", f"{lab.certificates}?gatewayId={gateway}")

    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == gateway
    assert leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value == "gateway"
    assert good.body == {"valid": True, "errors": []}
    assert devices.body["errors"] == [f"belongs to gateway {gateway}, not to device {lab.device}"]
    assert {each["certificateSerial"]: "revoked" in each for each in listed} == {
        serial: True,
        signed.body["certificateSerial"]: False,
    }
    assert chain.body == {"chain": made.body["chain"]}
    assert (await lab.api.call("GET", f"{lab.path}/certs")).body == {"certificates": []}


async def test_a_built_in_gateway_has_no_certificates(lab: Lab) -> None:
    """A built-in gateway is the server itself."""
    made = await lab.post("create", deviceId=None, gatewayId="3")
    listed = await lab.api.call("GET", f"/span/collections/{lab.collection}/gateways/3/certs")

    assert made.problem == (409, "Gateway 3 is built in: it has no certificates")
    assert listed.body == {"certificates": []}


async def test_no_certificate_for_a_gateway_that_is_not_there(lab: Lab) -> None:
    """Nor for one of another collection."""
    text = f"There is no gateway 17 in collection {lab.collection}"
    elsewhere = await lab.api.gateway(await lab.api.collection())

    assert (await lab.post("create", deviceId=None, gatewayId=elsewhere)).problem[0] == 404
    listed = await lab.api.call("GET", f"/span/collections/{lab.collection}/gateways/17/certs")
    assert listed.problem == (404, text)
    assert (await lab.post("create", deviceId=None, gatewayId="17")).problem == (404, text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"deviceId": None}, "deviceId, gatewayId: exactly one of them is wanted"),
        ({"gatewayId": "17"}, "deviceId, gatewayId: exactly one of them is wanted"),
        ({"deviceId": 5}, "deviceId: 5 is not text, and an id is text in base 24"),
        ({"keyType": "dsa"}, 'keyType: "dsa" is not one of ec, rsa'),
    ],
)
async def test_a_wrong_body_is_explained(lab: Lab, body: dict[str, Any], text: str) -> None:
    assert (await lab.post("create", **body)).problem == (400, text)


@pytest.mark.parametrize("serial", ["0", "x", "-1", "1.5", "9223372036854775808", "00000000000000000000"])
async def test_a_serial_number_is_a_decimal_number(lab: Lab, serial: str) -> None:
    reply = await lab.api.call("DELETE", f"{lab.certificates}/{serial}")

    assert reply.problem == (400, f"{serial!r} is not a serial number: a whole number, decimal, of at most 63 bits")


async def test_an_unknown_serial_number_is_not_found(lab: Lab) -> None:
    reply = await lab.api.call("DELETE", f"{lab.certificates}/9223372036854775807")

    assert reply.problem[0] == 404


async def test_a_reader_makes_and_revokes_nothing(lab: Lab) -> None:
    """But may see the chain and the list."""
    reader = await lab.api.token(f"/collections/{lab.collection}")
    serial = (await lab.post("create")).body["certificateSerial"]
    calls = [
        ("GET", lab.certificates, 200),
        ("GET", f"{lab.path}/certs", 200),
        ("POST", f"{lab.certificates}/create", 403),
        ("POST", f"{lab.certificates}/sign", 403),
        ("DELETE", f"{lab.certificates}/{serial}", 403),
        ("PUT", f"{lab.path}/psk", 403),
        ("DELETE", f"{lab.path}/psk", 403),
    ]
    statuses = [(await lab.api.call(method, path, token=reader)).status for method, path, _ in calls]

    assert statuses == [status for _, _, status in calls]


async def test_a_token_of_another_collection_reaches_nothing(lab: Lab) -> None:
    other = await lab.api.token(f"/collections/{await lab.api.collection()}", write=True)
    serial = (await lab.post("create")).body["certificateSerial"]

    for method, path in (("GET", lab.certificates), ("DELETE", f"{lab.certificates}/{serial}")):
        assert (await lab.api.call(method, path, token=other)).status == 403


async def test_a_psk_can_be_set_and_removed(lab: Lab) -> None:
    """The reply names the identity, never the key."""
    set_reply = await lab.put_psk()
    known = lab.api.known(lab.device).psk
    removed = await lab.api.call("DELETE", f"{lab.path}/psk")

    assert (set_reply.status, set_reply.body) == (200, {"deviceId": lab.device, "identity": IDENTITY})
    assert known == Psk(b"pump-3", KEY)
    assert (removed.status, removed.body) == (200, {"deviceId": lab.device})
    assert lab.api.known(lab.device).psk is None
    assert (await lab.api.call("DELETE", f"{lab.path}/psk")).problem == (404, f"Device {lab.device} has no PSK")


async def test_an_identity_of_another_device_is_a_conflict(lab: Lab) -> None:
    """Also of one in another collection."""
    await lab.put_psk()
    collection = await lab.api.collection()
    other = Lab(lab.api, collection, await lab.api.device(collection))

    assert (await other.put_psk()).problem == (409, "identity: another device has this PSK identity")
    assert (await lab.put_psk(key=b64encode(b"k" * 64).decode())).status == 200


async def test_no_reply_ever_shows_a_key(lab: Lab) -> None:
    """No reply contains a key, and GET is not served."""
    key = b"0123456789abcdef"
    await lab.put_psk(key=b64encode(key).decode())
    replies = [
        await lab.api.call("GET", lab.path),
        await lab.api.call("GET", f"/span/collections/{lab.collection}/devices"),
        await lab.api.call("PATCH", lab.path, json={"tags": {"a": "b"}}),
        await lab.api.call("GET", f"{lab.path}/psk"),
        await lab.api.call("GET", "/metrics"),
        await lab.api.call("DELETE", lab.path),
    ]

    assert [each.status for each in replies] == [200, 200, 200, 405, 200, 200]
    for each in replies:
        for form in (key.decode(), key.hex(), b64encode(key).decode()):
            assert form not in str(each.body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"identity": ""}, "identity: has 0 octets, not 1 to 128"),
        ({"identity": b64encode(b"x" * 129).decode()}, "identity: has 129 octets, not 1 to 128"),
        ({"identity": None}, "identity: null is not text, and an identity is base64 (RFC 4648 section 4)"),
        ({"key": ""}, "key: has 0 octets, not 16 to 64"),
        ({"key": b64encode(b"k" * 15).decode()}, "key: has 15 octets, not 16 to 64"),
        ({"key": b64encode(b"k" * 65).decode()}, "key: has 65 octets, not 16 to 64"),
        ({"key": 5}, "key: has 0 octets, not 16 to 64"),
        ({"key": "secret secret!"}, "key: is not base64 (RFC 4648 section 4)"),
    ],
)
async def test_a_wrong_psk_is_explained_without_showing_the_key(lab: Lab, body: dict[str, Any], text: str) -> None:
    assert (await lab.put_psk(**body)).problem == (400, text)


async def test_identities_and_keys_at_their_limits_are_taken(lab: Lab) -> None:
    for identity, key in ((b"x", b"k" * 16), (b"\xff" * 128, b"\0" * 64)):
        reply = await lab.put_psk(identity=b64encode(identity).decode(), key=b64encode(key).decode())

        assert reply.status == 200
        assert lab.api.fleet.directory.device_with_psk(identity) is lab.api.known(lab.device)


async def test_the_root_is_the_same_in_every_chain(lab: Lab) -> None:
    """The root that a device trusts does not depend on its collection."""
    other = await lab.api.collection()
    chains = [
        pem(await lab.api.call("GET", f"/span/collections/{each}/certificates"), "chain")
        for each in (lab.collection, other)
    ]
    parts = [certificates_in(each) for each in chains]

    assert parts[0][1] == parts[1][1]
    assert parts[0][0] != parts[1][0]
    assert isinstance(parts[0][1], x509.Certificate)
