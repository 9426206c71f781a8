"""Moves of a thing to another collection."""

from __future__ import annotations

from aiohttp import web

from span_events import ids
from span_events.auth import access
from span_events.errors import AccessDenied
from span_events.web.services import TOKEN


def check_move(request: web.Request, to_id: int, *, what: str) -> None:
    """
    Make sure that the token may write in the other collection, too; the path has shown the first.

    Args:
        what: What moves (``device``), for the message.

    Raises:
        AccessDenied: It may not.
    """
    try:
        access.check(request[TOKEN], resource=access.resource_of(to_id), write=True)
    except AccessDenied as exc:
        text = f"collectionId: the {what} cannot be moved to {ids.render(to_id)}: {exc.detail}"
        raise AccessDenied(text, hint=exc.hint, field="collectionId") from exc
