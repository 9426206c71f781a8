"""
``POST /api/v3/events`` and ``GET /api/v3/events/related``: The Things Stack's events over HTTP.

Status codes, headers, the first event and the framing are those of the original.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from types import MappingProxyType
from typing import Final

import orjson
from aiohttp import web

from span_events import ids
from span_events.config import FanoutConfig, ThingsStackConfig
from span_events.dialects.things_stack.errors import (
    HTTP_STATUS,
    INVALID_ARGUMENT,
    ErrorDetails,
    StatusError,
    UndecodableRequest,
    undecodable,
)
from span_events.dialects.things_stack.json import JsonDialect
from span_events.dialects.things_stack.requests import LONGEST_CORRELATION_ID, check_correlation_id, of_json
from span_events.errors import RequestError, StorageUnavailable, Unavailable
from span_events.fanout.subscriber import Close, Ending, Sink, Stream, Subscriber
from span_events.log import get_logger
from span_events.web.services import CAUSE
from span_events.web.streams import replies
from span_events.web.streams.admission import Admission
from span_events.web.things_stack.framing import Form, bare, form_of
from span_events.web.things_stack.service import EventsService, Subscription, ending_of, of_refusal

log = get_logger("things_stack")

_HEADERS: Final = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Pragma": "no-cache",
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "X-Xss-Protection": "1; mode=block",
    }
)
_EXPOSED: Final = (
    "Date, Content-Length, X-Rate-Limit-Limit, X-Rate-Limit-Available, X-Rate-Limit-Reset, X-Rate-Limit-Retry, "
    "X-Request-Id, X-Total-Count, X-Warning"
)
_NUMBER: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
"""A request's number as clients give it; with its prefix it must fit into a correlation id of 100 characters."""
_ALLOWED: Final = ("authorization", "content-type", "x-csrf-token")
_METHOD_NOT_ALLOWED: Final = MappingProxyType({"code": 12, "message": "Method Not Allowed"})
_NOT_FOUND: Final = MappingProxyType({"code": 5, "message": "Not Found"})


class HttpEvents:
    """The handlers; each checks the token itself."""

    def __init__(
        self, config: ThingsStackConfig, fanout: FanoutConfig, service: EventsService, admission: Admission
    ) -> None:
        self._max_request = config.max_request
        self._send_buffer = fanout.send_buffer
        self._service = service
        self._dialect = JsonDialect(service.host)
        self._admission = admission

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Serve ``/api/v3/events``."""
        if request.method == "OPTIONS":
            return _preflight(request, "POST")
        form = form_of(request.headers.getall("Accept", ()))
        if request.method != "POST":
            return _reply(request, form, 501, bare(_METHOD_NOT_ALLOWED))
        try:
            self._admission.check(request)
            token = await self._service.authenticate(request.headers.get("Authorization"))
            subscription = await self._service.permit(of_json(await self._body(request)), token)
            held = ExitStack()
            held.enter_context(self._admission.hold(request, token, subscription.weight))
        except UndecodableRequest as exc:
            return self._undecoded(request, form, exc)
        except (StatusError, RequestError, StorageUnavailable) as exc:
            details = self._refuse(request, exc)
            return _reply(request, form, HTTP_STATUS[details.code], form.error(details))
        with held:
            return await self._serve(request, form, subscription)

    async def related(self, request: web.Request) -> web.StreamResponse:
        """Serve ``/api/v3/events/related``."""
        if request.method == "OPTIONS":
            return _preflight(request, "GET")
        form = form_of(request.headers.getall("Accept", ()))
        if request.method != "GET":
            return _reply(request, form, 501, bare(_METHOD_NOT_ALLOWED))
        try:
            token = await self._service.authenticate(request.headers.get("Authorization"))
            found = await self._service.related(_correlation_id_of(request), token)
        except UndecodableRequest as exc:
            return self._undecoded(request, form, exc)
        except (StatusError, RequestError, StorageUnavailable) as exc:
            details = self._refuse(request, exc)
            return _reply(request, form, HTTP_STATUS[details.code], bare(details.as_status()))
        events = [self._dialect.document(each.activity, redacted=each.redacted) for each in found]
        return _reply(request, form, 200, orjson.dumps({"events": events} if events else {}))

    async def missing(self, request: web.Request) -> web.StreamResponse:
        """Answer for paths that are not served."""
        return _reply(request, form_of(request.headers.getall("Accept", ())), 404, bare(_NOT_FOUND))

    def _refuse(self, request: web.Request, error: StatusError | RequestError | StorageUnavailable) -> ErrorDetails:
        details = _details_of(error)
        self._service.refused(details, self._admission.client_of(request), request.path)
        return details.numbered(f"{request[CAUSE]:032x}")

    def _undecoded(self, request: web.Request, form: Form, error: UndecodableRequest) -> web.Response:
        """Refuse what cannot be decoded: the status is not wrapped, and has no details."""
        self._service.refused(undecodable(str(error)), self._admission.client_of(request), request.path)
        return _reply(request, form, 400, bare({"code": INVALID_ARGUMENT, "message": str(error)}))

    # ---- parts --------------------------------------------------------------------------------

    async def _body(self, request: web.Request) -> bytes:
        """Read the body, of whatever content type."""
        found = bytearray()
        if (request.content_length or 0) <= self._max_request:
            async for part in request.content.iter_any():
                found += part
                if len(found) > self._max_request:
                    break
            else:
                return bytes(found)
        limit = f"things_stack.max_request allows {self._max_request} octets"
        raise UndecodableRequest(f"http: request body too large: {limit}")

    async def _serve(self, request: web.Request, form: Form, subscription: Subscription) -> web.StreamResponse:
        service, wish = self._service, subscription.wish
        request_id = _number_of(request)
        encoding = form.encoding(self._dialect, chunked=replies.is_chunked(request))
        response = web.StreamResponse(headers=_headers_of(request) | {"X-Accel-Buffering": "no"})  # as our own streams
        response.content_type = form.content_type
        if subscription.warning:
            response.headers["X-Warning"] = subscription.warning

        def subscribe(sink: Sink, close: Close) -> Subscriber:
            start = self._dialect.start(
                service.number(),
                service.clock.time_ns(),
                identifiers=subscription.request.identifiers,
                names=subscription.names,
                request_id=request_id,
            )
            return service.hub.subscribe(
                Stream.ACTIVITIES,
                wish.scopes,
                wish,
                encoding,
                sink=sink,
                token_id=subscription.token.id,
                close=close,
                replay=lambda: (encoding.frame(start), *service.past(subscription, encoding)),
            )

        def farewell(ending: Ending, text: str) -> bytes:
            return form.error(ending_of(ending, text).numbered(f"{request[CAUSE]:032x}"))

        return await replies.serve(
            request,
            response,
            service.hub,
            subscription.token,
            send_buffer=self._send_buffer,
            subscribe=subscribe,
            farewell=farewell,
            remote=self._admission.client_of(request),
        )


def _details_of(error: StatusError | RequestError | StorageUnavailable) -> ErrorDetails:
    if isinstance(error, StatusError):
        return error.details
    if isinstance(error, RequestError):
        return of_refusal(error).details
    log.error("storage_unavailable", detail=str(error))
    return of_refusal(Unavailable("The server's storage cannot be used now; its log says why")).details


def _correlation_id_of(request: web.Request) -> str:
    """
    Return the one correlation id of the query, where its name may be in snake case or in camel case.

    Raises:
        UndecodableRequest: There is more than one.
        StatusError: It is too long, or there is none.
    """
    query = request.query
    given = [*query.getall("correlation_id", ()), *query.getall("correlationId", ())]
    if len(given) > 1:
        values = ", ".join(each[:LONGEST_CORRELATION_ID] for each in given[:3])
        raise UndecodableRequest(f'too many values for field "correlation_id": {values}')
    return check_correlation_id(given[0] if given else "")


def _number_of(request: web.Request) -> str:
    """Return the number of a request: that of its client, or a new one."""
    given = request.headers.get("X-Request-Id", "")
    return given if _NUMBER.fullmatch(given) else ids.to_ulid(request[CAUSE])


def _headers_of(request: web.Request) -> dict[str, str]:
    headers = {**_HEADERS, "X-Request-Id": _number_of(request)}
    if "Origin" in request.headers:
        headers |= {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": _EXPOSED}
    return headers


def _reply(request: web.Request, form: Form, status: int, body: bytes) -> web.Response:
    headers = _headers_of(request)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(status=status, body=body, content_type=form.content_type, headers=headers)


def _preflight(request: web.Request, method: str) -> web.Response:
    """Allow a page of any origin: it has no credentials but a token that it was given."""
    asked = request.headers.get("Access-Control-Request-Headers", "")
    allowed = [each for each in map(str.strip, asked.split(",")) if each.lower() in _ALLOWED]
    headers = {
        **_headers_of(request),
        "Access-Control-Allow-Headers": ", ".join(allowed),
        "Access-Control-Allow-Methods": method,
        "Access-Control-Max-Age": "600",
    }
    return web.Response(headers=headers)
