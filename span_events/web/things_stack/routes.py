"""The URLs of The Things Stack's API."""

from __future__ import annotations

from aiohttp import web

from span_events.web.things_stack.console import PATH, ConsoleEvents
from span_events.web.things_stack.http import HttpEvents


def routes_of(http: HttpEvents, console: ConsoleEvents) -> list[web.RouteDef]:
    """List the routes; each handler checks the token itself."""
    return [
        web.get(PATH, console.serve, allow_head=False),
        web.route("*", "/api/v3/events", http.stream),
        web.route("*", "/api/v3/events/related", http.related),
        web.route("*", "/api/v3/{rest:.*}", http.missing),
    ]
