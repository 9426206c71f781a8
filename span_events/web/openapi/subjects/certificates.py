"""Certificates of devices and gateways, in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from span_events.web.openapi.operations import EXTENDED, JSON, LIMIT, Operation, json_of, parameter
from span_events.web.openapi.schemas import BASE64, ID, TRUE_FALSE, Schema, digits, fields, list_of, ref, text
from span_events.web.rest.bodies.models import NewCertificateBody, SigningRequestBody, VerificationBody

_EXPIRES: Final = {"certificateSerial": digits("Serial number"), "expires": digits("Unix milliseconds")}
_SIGNED: Final = {"certificate": BASE64, "chain": BASE64}
SCHEMAS: Final[dict[str, Schema]] = {
    "CertificateInfo": fields("A certificate.", _EXPIRES, {"revoked": digits("Unix milliseconds (extended)")}),
    "Certificates": fields("Certificates.", {"certificates": list_of(ref("CertificateInfo"))}),
}
_PAGE: Final = (LIMIT, parameter("offset", "Only those behind this serial number.", digits("Decimal")), EXTENDED)
_COLLECTION: Final = "/span/collections/{collection}"
_ALL: Final = f"{_COLLECTION}/certificates"
_OWNER: Final = {"deviceId": "17kl14hm46h4c2"}
_PEM: Final = "LS0tLS1CRUdJTi4uLg=="
OPERATIONS: Final = (
    Operation(
        method="get",
        path=_ALL,
        id="getChain",
        summary="Show the chain above the certificates of a collection: its intermediate, then the root",
        query=(parameter("deviceId", "A device.", ID), parameter("gatewayId", "A gateway.", ID)),
        content={JSON: fields("The chain in PEM.", {"chain": BASE64})},
    ),
    Operation(
        method="post",
        path=f"{_ALL}/create",
        id="createCertificate",
        summary="Create a key and a certificate; the key cannot be read again",
        query=(EXTENDED,),
        body=NewCertificateBody,
        example=_OWNER,
        content={JSON: fields("All in PEM.", _SIGNED | {"privateKey": BASE64}, _EXPIRES)},
        problems=(409,),
    ),
    Operation(
        method="post",
        path=f"{_ALL}/sign",
        id="signCertificate",
        summary="Make a certificate for a key that its owner has",
        query=(EXTENDED,),
        body=SigningRequestBody,
        example={**_OWNER, "csr": _PEM},
        content={JSON: fields("All in PEM.", _SIGNED, _EXPIRES)},
        problems=(409,),
    ),
    Operation(
        method="post",
        path=f"{_ALL}/verify",
        id="verifyCertificate",
        summary="Verify that a device or gateway could connect with a certificate",
        body=VerificationBody,
        example={**_OWNER, "certificate": _PEM},
        content={JSON: fields("Every reason against it.", {"valid": TRUE_FALSE, "errors": list_of(text())})},
    ),
    Operation(
        method="delete",
        path=f"{_ALL}/{{serial}}",
        id="revokeCertificate",
        summary="Make a certificate useless; its sessions end",
        content=json_of("CertificateInfo"),
    ),
    Operation(
        method="get",
        path=f"{_COLLECTION}/devices/{{device}}/certs",
        id="listDeviceCertificates",
        summary="List the certificates of a device",
        query=_PAGE,
        content=json_of("Certificates"),
    ),
    Operation(
        method="get",
        path=f"{_COLLECTION}/gateways/{{gateway}}/certs",
        id="listGatewayCertificates",
        summary="List the certificates of a gateway",
        query=_PAGE,
        content=json_of("Certificates"),
    ),
)
