"""Pages that need no token: version, catalogue of events, health, metrics; login and logout."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from aiohttp import web

import span_events
from span_events.auth import access
from span_events.errors import InvalidRequest, NotFound
from span_events.events.catalogue import CATALOGUE
from span_events.events.reference import describe
from span_events.metrics import CONTENT_TYPE, exposition
from span_events.web.proxies import Proxies
from span_events.web.rest.bodies.models import LoginBody
from span_events.web.rest.bodies.reading import read_body
from span_events.web.rest.replies import is_extended, render
from span_events.web.services import SERVICES

API_LEVEL: Final = "4.9.5"
"""Version of Span whose API this server has; Span's command line checks it before every command."""
RELEASE_NAME: Final = "span-events"


async def get(request: web.Request) -> web.Response:
    """Show the version of the API; extended, also the version of this server."""
    document = {"version": API_LEVEL, "buildDate": _BUILD_DATE, "releaseName": RELEASE_NAME}
    return render(document | ({"spanEvents": span_events.__version__} if is_extended(request) else {}))


async def home(_request: web.Request) -> web.Response:
    """Serve a short page at ``/``, from whose origin a browser's developer console may open streams."""
    return web.Response(text=_HOME, content_type="text/html", headers={"Content-Security-Policy": _POLICY})


async def catalogue(_request: web.Request) -> web.Response:
    """List every event that can happen, with its keys, reasons and hints."""
    return render(_CATALOGUE)


async def live(request: web.Request) -> web.Response:
    """Show the health of each part, always with 200: a server that answers need not be killed."""
    return render(_health(request))


async def ready(request: web.Request) -> web.Response:
    """
    Show the same with 503 while a part fails: new clients should go elsewhere.

    A degraded part serves with what it has, and so does the same part of every other node: a balancer that took all of
    them away, as a database is down, would make an outage of a delay.
    """
    health = _health(request)
    fails = any(text != "ok" and not text.startswith("degraded: ") for text in health["parts"].values())
    return render(health, status=HTTPStatus.SERVICE_UNAVAILABLE if fails else HTTPStatus.OK)


def _health(request: web.Request) -> dict[str, Any]:
    parts = request.app[SERVICES].health()
    well = all(text == "ok" for text in parts.values())
    return {"status": "ok" if well else "degraded", "parts": dict(parts)}


async def metrics(request: web.Request) -> web.Response:
    """Write the metrics in Prometheus' text format."""
    body = exposition(request.app[SERVICES].metrics)()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


async def elsewhere(request: web.Request) -> web.Response:
    """Refuse everything else on a port that serves only health and metrics."""
    raise NotFound(
        f"There is nothing at {request.path[:200]}: this port serves only /healthz, /readyz and /metrics",
        hint="The API and the streams are on nodes of role web or all (http.port).",
    )


async def log_in(request: web.Request) -> web.Response:
    """Check a password; the reply has a result and credentials (a JWT) even if the password is wrong, as Span's."""
    body = await read_body(request, LoginBody)
    services = request.app[SERVICES]
    host = Proxies(services.config.http.proxies).client_of(request) or ""
    text = await services.logins.log_in(body.email, body.password, host=host)
    result = "RESULT_INVALID" if text is None else "RESULT_SUCCESS"
    return render({"result": result, "credentials": text or ""})


async def log_out(request: web.Request) -> web.Response:
    """End the login whose JWT the request carries, and its streams."""
    services = request.app[SERVICES]
    given = access.credentials(request.headers, request.query)
    if not await services.logins.log_out(given.text):
        await access.authenticate(services.tokens, given)  # an unknown one is refused here
        raise InvalidRequest(
            "The token is no login, so nothing can be logged out",
            hint="`span-events token delete` deletes a token.",
        )
    return render({})


_CATALOGUE: Final = {"events": [describe(each) for each in CATALOGUE.values()]}
_BUILD_DATE: Final = datetime.fromtimestamp(Path(span_events.__file__).stat().st_mtime, UTC).date().isoformat()
"""The day this copy was installed."""

_POLICY: Final = "default-src 'none'; connect-src 'self' ws: wss:"
_HOME: Final = f"""\
<!doctype html>
<html lang="en">
<title>span-events</title>
<h1>span-events {span_events.__version__} is running</h1>
<p>This address serves an API and WebSocket streams. To watch a collection from here, open the console of the
developer tools and type:
<pre>
new WebSocket(location.origin.replace("http", "ws") + "/span/collections/COLLECTION/activity?api_token=TOKEN")
    .onmessage = message =&gt; console.log(message.data)
</pre>
<p>TOKEN must be a read-only one: <code>span-events token create --resource /collections/COLLECTION</code>.
A browser does not say why a stream was refused; <code>span-events tail</code> and curl do.
"""

MONITORING: Final = (
    web.get("/healthz", live),
    web.get("/readyz", ready),
    web.get("/metrics", metrics),
)
ROUTES: Final = (
    web.get("/", home),
    web.get("/span/system", get),
    web.get("/span/events/catalogue", catalogue),
    *MONITORING,
    web.post("/dejavu/v1/login", log_in),
    web.post("/dejavu/v1/logout", log_out),
)
