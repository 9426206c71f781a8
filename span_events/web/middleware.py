"""Middleware: numbers each request, turns errors into problem documents, and checks the token."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from span_events import ids
from span_events.auth import access
from span_events.errors import NotFound, RequestError, StorageUnavailable, TooLarge, Unavailable
from span_events.log import get_logger
from span_events.web.paths import resource_of
from span_events.web.problems import of_error, problem
from span_events.web.services import CAUSE, SERVICES, TOKEN

log = get_logger("web")

REQUEST_ID: Final = "X-Request-Id"
_READING: Final = frozenset({"GET", "HEAD"})
_STARTED: Final = web.RequestKey("started", bool)


async def name_reply(request: web.Request, response: web.StreamResponse) -> None:
    """Write the number of the request into the reply, of whatever kind it is."""
    if CAUSE in request:  # not so when aiohttp refuses an Expect header, before any middleware
        response.headers[REQUEST_ID] = ids.render(request[CAUSE])
    request[_STARTED] = True


@web.middleware
async def number(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its number."""
    services = request.app[SERVICES]
    request[CAUSE] = services.identifiers.next(services.clock.time_ns())
    return await handler(request)


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem document; log an unexpected one, and give the client the request's number."""
    request_id = ids.render(request[CAUSE])
    try:
        return await handler(request)
    except RequestError as exc:
        return of_error(exc, request_id)
    except StorageUnavailable as exc:
        log.error("storage_unavailable", request_id=request_id, detail=str(exc))
        detail = "The server's storage cannot be used now; its log says why"
        return of_error(Unavailable(detail, hint="Try again, or ask who runs the server."), request_id)
    except web.HTTPException as exc:
        return _of_aiohttp(request, exc, request_id)
    except ConnectionError:
        raise  # the client disconnected; aiohttp expects this
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


def authentication(
    *, public: Collection[Handler], unscoped: Collection[Handler], reading: Collection[Handler]
) -> Middleware:
    """
    Build the middleware that refuses requests without a token for their resource.

    Args:
        public: Handlers that need no token, or check the token themselves.
        unscoped: Handlers that any token may call; they show only the resources that it reaches.
        reading: Handlers that change nothing, even by POST.
    """

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        called = request.match_info.handler
        if request.match_info.http_exception is None and called not in public:
            given = access.credentials(request.headers, request.query)
            token = await access.authenticate(request.app[SERVICES].tokens, given)
            if called not in unscoped:
                write = request.method not in _READING and called not in reading
                access.check(token, resource=resource_of(request), write=write)
            request[TOKEN] = token
        return await handler(request)

    return authenticate


def _of_aiohttp(request: web.Request, exc: web.HTTPException, request_id: str) -> web.Response:
    """Write aiohttp's own refusals in our shape."""
    if isinstance(exc, web.HTTPNotFound):
        missing = NotFound(f"There is nothing at {request.path[:200]}", hint="GET /span/collections is a good start.")
        return of_error(missing, request_id)
    if isinstance(exc, web.HTTPRequestEntityTooLarge):
        limit = request.app[SERVICES].config.http.max_body
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
