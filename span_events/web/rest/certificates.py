"""Certificates: ``/span/collections/{collection}/certificates``, and ``…/certs`` of each device and gateway."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from aiohttp import web

from span_events.errors import InvalidRequest
from span_events.fleet.certificates import Owner, Signed
from span_events.web import documents
from span_events.web.paths import collection_of, device_of, gateway_of, paged_by_number, query_id_of, serial_of
from span_events.web.rest.bodies.models import NewCertificateBody, OwnerBody, SigningRequestBody, VerificationBody
from span_events.web.rest.bodies.reading import read_body
from span_events.web.rest.replies import is_extended, render
from span_events.web.services import SERVICES


async def chain(request: web.Request) -> web.Response:
    """Show the chain above the certificates of a collection: its intermediate, then the root."""
    collection = collection_of(request)
    device_id = query_id_of(request, "deviceId", what="device")
    gateway_id = query_id_of(request, "gatewayId", what="gateway")
    if device_id is not None or gateway_id is not None:
        _owner(request, device_id, gateway_id)
    return render({"chain": _base64(await request.app[SERVICES].fleet.certificates.chain(collection))})


async def create(request: web.Request) -> web.Response:
    """Create a key and a certificate; the key cannot be read again."""
    body = await read_body(request, NewCertificateBody)
    signed = await request.app[SERVICES].fleet.certificates.create(_owner_of(request, body), body.key_type)
    return render({**_document(request, signed), "privateKey": _base64(signed.private_key_pem)})


async def sign(request: web.Request) -> web.Response:
    """Make a certificate for a key that its owner has."""
    body = await read_body(request, SigningRequestBody)
    signed = await request.app[SERVICES].fleet.certificates.sign(_owner_of(request, body), body.csr)
    return render(_document(request, signed))


async def verify(request: web.Request) -> web.Response:
    """Verify that a device or gateway could connect with a certificate; list every reason against it."""
    body = await read_body(request, VerificationBody)
    faults = request.app[SERVICES].fleet.certificates.verify(_owner_of(request, body), body.certificate)
    return render({"valid": not faults, "errors": faults})


async def revoke(request: web.Request) -> web.Response:
    """Make a certificate useless; its sessions end."""
    serial = serial_of(request)
    revoked = await request.app[SERVICES].fleet.certificates.revoke(collection_of(request), serial)
    return render(documents.certificate_info(revoked, extended=True))


async def of_device(request: web.Request) -> web.Response:
    """List the certificates of a device."""
    return _list(request, device_of(request))


async def of_gateway(request: web.Request) -> web.Response:
    """List the certificates of a gateway."""
    return _list(request, gateway_of(request))


def _owner_of(request: web.Request, body: OwnerBody) -> Owner:
    return _owner(request, body.device_id, body.gateway_id)


def _owner(request: web.Request, device_id: int | None, gateway_id: int | None) -> Owner:
    collection, directory = collection_of(request), request.app[SERVICES].fleet.directory
    if gateway_id is None and device_id is not None:
        return directory.device(collection.id, device_id)
    if gateway_id is not None and device_id is None:
        return directory.gateway(collection.id, gateway_id)
    raise InvalidRequest("deviceId, gatewayId: exactly one of them is wanted", field="deviceId")


def _document(request: web.Request, signed: Signed) -> documents.Document:
    document = {"certificate": _base64(signed.pem), "chain": _base64(signed.chain_pem)}
    return document | (documents.certificate_info(signed.record) if is_extended(request) else {})


def _list(request: web.Request, owner: Owner) -> web.Response:
    found, extended = request.app[SERVICES].fleet.certificates.list(owner), is_extended(request)
    page = paged_by_number(request, found, key=lambda each: each.serial)
    return render({"certificates": [documents.certificate_info(each, extended=extended) for each in page]})


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode()


_ALL: Final = "/span/collections/{collection}/certificates"
ROUTES: Final = (
    web.get(_ALL, chain),
    web.post(f"{_ALL}/create", create),
    web.post(f"{_ALL}/sign", sign),
    web.post(f"{_ALL}/verify", verify),
    web.delete(f"{_ALL}/{{serial}}", revoke),
    web.get("/span/collections/{collection}/devices/{device}/certs", of_device),
    web.get("/span/collections/{collection}/gateways/{gateway}/certs", of_gateway),
)
