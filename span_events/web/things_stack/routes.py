"""The URLs of The Things Stack's API."""

from __future__ import annotations

from aiohttp import web

from span_events.web.things_stack.http import HttpEvents


def routes_of(http: HttpEvents) -> list[web.RouteDef]:
    """List the routes; their handlers answer every method, and check the token."""
    return [
        web.route("*", "/api/v3/events", http.stream),
        web.route("*", "/api/v3/events/related", http.related),
        web.route("*", "/api/v3/{rest:.*}", http.missing),
    ]
