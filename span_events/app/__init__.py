"""The composition root: builds, supervises and stops the parts of one process."""

from span_events.app.server import Server

__all__ = ["Server"]
