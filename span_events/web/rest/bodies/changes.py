"""Changes of resources that can move to another collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from span_events import ids
from span_events.auth import access
from span_events.errors import AccessDenied, NotFound
from span_events.registry.model import Device, Gateway, Image
from span_events.web.paths import collection_of
from span_events.web.rest.bodies.models import DeviceBody, GatewayBody, ImageBody
from span_events.web.rest.bodies.reading import check_tags, read_body
from span_events.web.services import SERVICES, TOKEN

T = TypeVar("T", bound=Device | Gateway | Image)
B = TypeVar("B", bound=DeviceBody | GatewayBody | ImageBody)


async def read_change(
    request: web.Request, find: Callable[[web.Request], T], kind: type[B], *, what: str
) -> tuple[T, B]:
    """
    Find the resource of the path and read the change; raises the errors of `find` and `read_body`.

    Args:
        what: Kind of the resource (``device``), for the message.

    Raises:
        InvalidRequest: The resource would have too many tags.
        AccessDenied: The token may not write to the new collection.
        NotFound: The new collection does not exist.
    """
    find(request)  # a missing resource is refused before the body is read
    body = await read_body(request, kind)
    found = find(request)  # again: the client decides how long reading takes, and resources move meanwhile
    check_tags(found.tags, body.tags)
    if body.collection_id not in (None, collection_of(request).id):
        _check_move(request, body.collection_id, what)
    return found, body


def _check_move(request: web.Request, to_id: int, what: str) -> None:
    """Make sure that the other collection is there and the token may write in it, too; the path has shown the first."""
    try:
        access.check(request[TOKEN], resource=access.resource_of(to_id), write=True)
    except AccessDenied as exc:
        text = f"collectionId: the {what} cannot be moved to {ids.render(to_id)}: {exc.detail}"
        raise AccessDenied(text, hint=exc.hint, field="collectionId") from exc
    try:
        request.app[SERVICES].fleet.directory.collection(to_id)
    except NotFound as exc:
        raise NotFound(exc.detail, hint=exc.hint, field="collectionId") from exc
