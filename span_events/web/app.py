"""The web application: which URL is served by which handler."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from span_events.web import described, middleware
from span_events.web.chirpstack import http as chirpstack
from span_events.web.front import name_reply
from span_events.web.rest import (
    blobs,
    certificates,
    collections,
    data,
    devices,
    firmware,
    gateways,
    outbox,
    outputs,
    psks,
    related,
    system,
    updates,
)
from span_events.web.services import SERVICES, Services, StreamRoutes, Streams

__all__ = ["REST", "SERVICES", "Services", "StreamRoutes", "Streams", "make_app", "make_monitoring_app"]

REST: Final = (
    system,
    described,
    collections,
    devices,
    data,
    outbox,
    gateways,
    certificates,
    psks,
    firmware,
    updates,
    blobs,
    outputs,
    related,
    chirpstack,
)
_ACTIVITY: Final = (
    "/activity",
    "/collections/{collection}/activity",
    "/collections/{collection}/devices/{device}/activity",
    "/collections/{collection}/gateways/{gateway}/activity",
)
_MESSAGES: Final = (
    "/collections/{collection}/from",
    "/collections/{collection}/devices/{device}/from",
)


def make_app(services: Services, subscribers: StreamRoutes) -> web.Application:
    """Build the application of a web node: REST and streams."""
    streams = subscribers.streams
    app = web.Application(
        middlewares=[
            middleware.authentication(
                public=(
                    *(each.handler for each in (*system.ROUTES, *described.ROUTES)),
                    *(each.handler for each in (*subscribers.things_stack, *subscribers.mqtt)),
                    streams.activity,
                    streams.messages,
                ),
                unscoped=(collections.list,),
                reading=(updates.history, updates.state),
            ),
            *((middleware.freshness,) if services.fleet.registry.is_shared else ()),
        ],
        client_max_size=services.config.http.max_body,
    )
    app[SERVICES] = services
    app.on_response_prepare.append(name_reply)
    for module in REST:
        app.router.add_routes(module.ROUTES)
    app.router.add_routes([*subscribers.things_stack, *subscribers.mqtt])
    for prefix in ("/span", ""):
        for path in _ACTIVITY:
            app.router.add_get(prefix + path, streams.activity, allow_head=False)
        for path in _MESSAGES:
            app.router.add_get(prefix + path, streams.messages, allow_head=False)
    return app


def make_monitoring_app(services: Services) -> web.Application:
    """Build the application of a port that serves nothing but health and metrics, to anybody."""
    app = web.Application()
    app[SERVICES] = services
    app.on_response_prepare.append(name_reply)
    app.router.add_routes(system.MONITORING)
    app.router.add_route("*", "/{path:.*}", system.elsewhere)
    return app
