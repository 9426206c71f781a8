"""
Problem documents: errors as ``application/problem+json`` (RFC 9457) with Span's fields beside it.

Span's clients read ``code``, ``message`` and ``details`` (google.rpc.Status); its command line prints
``title`` alone, so the title describes this very request. The media type must not be ``application/json``:
the Go client inside that command line crashes on error replies of that type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web

from span_events.errors import InvalidRequest, RequestError, TooManyAttempts

CONTENT_TYPE: Final = "application/problem+json"
_RETRY_AFTER: Final = "5"
"""Seconds after which a client may try again."""
_MINUTE: Final = "60"
"""The same after too many failed logins."""
_GOOGLE: Final = "type.googleapis.com/google.rpc."


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong field of a body."""

    field: str
    """Its path: ``config.ciot.imsi``."""
    text: str
    """The value that was seen, and the one that is valid."""

    def __str__(self) -> str:
        return f"{self.field}: {self.text}" if self.field else self.text


class InvalidBody(InvalidRequest):
    """Fields of a body are wrong; the message lists all of them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)), field=faults[0].field)
        self.faults = tuple(faults)


def problem(
    status: int,
    detail: str,
    *,
    code: str,
    rpc_code: int,
    hint: str = "",
    faults: Sequence[Fault] = (),
    field: str = "",
    request_id: str = "",
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """
    Make an error reply.

    Args:
        code: Stable word for programs; the last part of ``type``.
        rpc_code: google.rpc.Code.
    """
    detail = detail.encode(errors="replace").decode()  # header octets that are not UTF-8 arrive as surrogates
    details: list[dict[str, Any]] = []
    if faults:
        violations = [{"field": each.field, "description": each.text} for each in faults]
        details.append({"@type": f"{_GOOGLE}BadRequest", "fieldViolations": violations})
    if request_id:
        details.append({"@type": f"{_GOOGLE}RequestInfo", "requestId": request_id})
    body = {
        "type": f"urn:span-events:{code}",
        "title": detail,
        "status": status,
        "detail": detail,
        "code": rpc_code,
        "message": detail,
        "details": details,
    }
    if hint:
        body["hint"] = hint
    if field:
        body["field"] = field
    return web.Response(status=status, body=orjson.dumps(body), content_type=CONTENT_TYPE, headers=headers)


def octets_of(response: web.Response) -> bytes:
    """Write a problem as the last reply of a connection, for one that aiohttp cannot answer."""
    assert isinstance(response.body, bytes)
    head = (
        f"HTTP/1.1 {response.status} {response.reason}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(response.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + response.body


def of_error(error: RequestError, request_id: str) -> web.Response:
    """Make the reply for a refused request."""
    if isinstance(error, InvalidBody):
        faults = error.faults
    else:
        faults = (Fault(error.field, error.detail),) if error.field else ()
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    elif error.status == HTTPStatus.UPGRADE_REQUIRED:
        headers["Upgrade"] = "websocket"  # RFC 9110 15.5.22
        headers["Sec-WebSocket-Version"] = "13"  # RFC 6455 4.4
    elif isinstance(error, TooManyAttempts):
        headers["Retry-After"] = _MINUTE
    elif error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = _RETRY_AFTER
    elif error.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        headers["Accept-Encoding"] = "identity"  # RFC 9110 15.5.16
    return problem(
        error.status,
        error.detail,
        code=error.code,
        rpc_code=error.rpc_code,
        hint=error.hint,
        faults=faults,
        field=error.field,
        request_id=request_id,
        headers=headers,
    )
