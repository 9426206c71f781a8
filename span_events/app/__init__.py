"""The composition root: what one process serves, and who looks after it."""

from span_events.app.server import Server

__all__ = ["Server"]
