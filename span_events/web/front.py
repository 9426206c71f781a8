"""
The front of the application: every request passes here first, whatever its method and path.

Numbers each request, refuses what no handler should see, and turns every error into a problem document.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import HttpVersion11, web

from span_events import ids
from span_events.errors import (
    InvalidRequest,
    NotFound,
    RequestError,
    StorageUnavailable,
    TooLarge,
    Unavailable,
    UnknownExpectation,
    UnsupportedMedia,
)
from span_events.log import get_logger
from span_events.web import warnings
from span_events.web.connection import Connection
from span_events.web.problems import of_error, problem
from span_events.web.services import CAUSE, Services
from span_events.web.streams.origins import Origins

log = get_logger("web")

REQUEST_ID: Final = "X-Request-Id"
_STARTED: Final = web.RequestKey("started", bool)
_SHARING: Final = web.RequestKey("sharing", dict[str, str])
"""Headers for pages of other origins."""
Application = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def name_reply(request: web.Request, response: web.StreamResponse) -> None:
    """Write the number of the request into the reply, of whatever kind it is, and what was ignored of the request."""
    response.headers.setdefault(REQUEST_ID, ids.render(request[CAUSE]))
    warnings.write(request, response)
    if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        response.headers.extend(request[_SHARING])  # beside another Vary
    request[_STARTED] = True


class Front:
    """
    Calls the application.

    Args:
        application: aiohttp's handler of all requests: the expectation, the route, the middlewares.
    """

    def __init__(self, services: Services, application: Application) -> None:
        self._services = services
        self._application = application
        self._origins = Origins(services.config.http.allowed_origins)
        self.replies = Counter({200: 0})
        """Number of replies by status; those of streams count at their end."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        assert isinstance(request, web.Request)
        if "//" in request.rel_url.raw_path:
            request = _with_single_slashes(request)
        assert isinstance(request.protocol, Connection)
        request.protocol.begin(request)
        await self._services.turns.enter()
        request[CAUSE] = self._services.identifiers.next(self._services.clock.time_ns())
        request_id = ids.render(request[CAUSE])
        origin = request.headers.get("Origin")
        request[_SHARING] = self._origins.headers(origin, request.path)
        response: web.StreamResponse | None = self._preflight(request, origin)
        if response is None:
            response = await self._explain(request, request_id)
        self.replies[response.status] += 1
        if not response.prepared:
            response.headers.setdefault(
                REQUEST_ID, request_id
            )  # `name_reply` is not called for requests without a route
        return response

    def _preflight(self, request: web.Request, origin: str | None) -> web.Response | None:
        """Answer a browser that asks before a request of a page of another origin; None for other requests."""
        if request.method != "OPTIONS" or origin is None or "Access-Control-Request-Method" not in request.headers:
            return None
        headers = self._origins.preflight(origin, request.path)
        return None if headers is None else web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)

    async def _explain(self, request: web.Request, request_id: str) -> web.StreamResponse:
        """Turn every error into a problem document; log an unexpected one, and give the client the request's number."""
        try:
            _check_head(request)
            return await self._application(request)
        except RequestError as exc:
            return of_error(exc, request_id)
        except StorageUnavailable as exc:
            log.error("storage_unavailable", request_id=request_id, detail=str(exc))
            detail = "The server's storage cannot be used now; its log says why"
            return of_error(Unavailable(detail, hint="Try again, or ask who runs the server."), request_id)
        except web.HTTPException as exc:
            return self._of_aiohttp(request, exc, request_id)
        except ConnectionError:
            raise  # the client disconnected; the connection expects this
        except Exception as exc:
            log.exception("request_failed", request_id=request_id, method=request.method, path=request.path)
            if _STARTED in request:  # too late for another reply
                raise ConnectionResetError("the reply had begun") from exc
            return problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                f"The server failed; its log tells the cause under request id {request_id}",
                code="internal",
                rpc_code=13,
                request_id=request_id,
            )

    def _of_aiohttp(self, request: web.Request, exc: web.HTTPException, request_id: str) -> web.Response:
        """Write aiohttp's own refusals in our shape."""
        if isinstance(exc, web.HTTPNotFound):
            missing = NotFound(
                f"There is nothing at {request.path[:200]}", hint="GET /span/collections is a good start."
            )
            return of_error(missing, request_id)
        if isinstance(exc, web.HTTPRequestEntityTooLarge):
            limit = self._services.config.http.max_body
            return of_error(TooLarge(f"The body is over {limit} octets (http.max_body)"), request_id)
        headers = {}
        detail = exc.text or exc.reason
        if isinstance(exc, web.HTTPMethodNotAllowed):
            allowed = ", ".join(sorted(exc.allowed_methods))
            detail = f"{request.path[:200]} does not serve {request.method}; it serves {allowed}"
            headers["Allow"] = allowed
        return problem(
            exc.status,
            detail,
            code=exc.reason.lower().replace(" ", "_"),
            rpc_code=12 if exc.status == HTTPStatus.METHOD_NOT_ALLOWED else 13,
            request_id=request_id,
            headers=headers,
        )


def _with_single_slashes(request: web.Request) -> web.Request:
    """Fold the slashes of a path: a client whose endpoint ends with a slash asks for ``//span/…``."""
    url = request.rel_url
    path = re.sub("/{2,}", "/", url.raw_path)
    return request.clone(rel_url=url.build(path=path, query_string=url.raw_query_string, encoded=True))


def _check_head(request: web.Request) -> None:
    """
    Refuse a request by its head alone, before its body is read.

    Raises:
        UnsupportedMedia: The body is compressed; to inflate it could cost a thousand times its size.
        UnknownExpectation: Expect is not 100-continue (RFC 9110 10.1.1).
        InvalidRequest: The transfer coding is not chunked, or not one of HTTP/1.0 (RFC 9112 6.1).
    """
    coding = request.headers.get("Content-Encoding", "identity").strip()
    if coding.lower() != "identity":
        raise UnsupportedMedia(
            f"The body has the content coding {coding[:40]!r}, and no body may be compressed",
            hint="Send the body as it is, without Content-Encoding.",
        )
    expected = request.headers.get("Expect", "100-continue").strip()
    if expected.lower() != "100-continue":
        raise UnknownExpectation(
            f"The request expects {expected[:40]!r}; only 100-continue is understood",
            hint="Leave the header Expect out.",
        )
    coding = request.headers.get("Transfer-Encoding", "chunked").strip()
    if coding.lower() != "chunked":
        raise InvalidRequest(f"The transfer coding is {coding[:40]!r}; only chunked is understood")
    if "Transfer-Encoding" in request.headers and request.version < HttpVersion11:
        raise InvalidRequest("HTTP/1.0 has no transfer codings", hint="Send Content-Length, or use HTTP/1.1.")
