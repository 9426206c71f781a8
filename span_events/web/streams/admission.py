"""Admission of streams: the room that is left for one more."""

from __future__ import annotations

from aiohttp import web

from span_events.accepting import RefusedAccepts, is_last
from span_events.errors import Unavailable
from span_events.fanout.hub import Hub


class Admission:
    """
    Checks every kind of stream over HTTP before its reply begins.

    Args:
        refused: Counts what was refused for want of descriptors.
    """

    def __init__(self, hub: Hub, refused: RefusedAccepts) -> None:
        self._hub = hub
        self._refused = refused

    def check(self, request: web.Request) -> None:
        """
        Make sure that there is room for one more stream, and leave the last descriptors to short requests.

        Raises:
            Unavailable: A bound is reached, or the server shuts down.
        """
        self._hub.check_room()
        connection = None if request.transport is None else request.transport.get_extra_info("socket")
        if connection is not None and is_last(connection.fileno()):
            self._refused.few_left("http")
            raise Unavailable(
                "The server has no descriptors left for another stream",
                hint="Close streams that nobody reads, or raise the server's limit of open files.",
            )
