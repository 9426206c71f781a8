"""Who may move things from one collection to another."""

from __future__ import annotations

from aiohttp import web

from span_events import ids
from span_events.auth import access
from span_events.errors import AccessDenied
from span_events.web.services import TOKEN


def check_move(request: web.Request, target_id: int, *, what: str) -> None:
    """
    Make sure that the token may write in the collection that something is to be moved to, too.

    Args:
        what: What is to be moved, for the message.

    Raises:
        AccessDenied: It may not.
    """
    try:
        access.check(request[TOKEN], resource=access.resource_of(target_id), write=True)
    except AccessDenied as exc:
        text = f"collectionId: the {what} cannot be moved to {ids.render(target_id)}: {exc.detail}"
        raise AccessDenied(text, hint=exc.hint, field="collectionId") from exc
