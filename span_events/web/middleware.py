"""Middleware: checks the token of each request."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from span_events.auth import access
from span_events.web.paths import check_query, names_known, resource_of
from span_events.web.services import SERVICES, TOKEN

_READING: Final = frozenset({"GET", "HEAD"})


def authentication(
    *, public: Collection[Handler], unscoped: Collection[Handler], reading: Collection[Handler]
) -> Middleware:
    """
    Build the middleware that refuses requests without a token for their resource, and warns of an unknown query.

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
            check_query(request)
        return await handler(request)

    return authenticate


@web.middleware
async def freshness(request: web.Request, handler: Handler) -> web.StreamResponse:
    """
    Before a path is refused for a resource that is unknown here, look whether another node has made it meanwhile.

    A client may get the reply to a POST from one node, and send its next request to another.
    """
    if request.match_info and not names_known(request):
        await request.app[SERVICES].fleet.registry.look()
    return await handler(request)
