"""Streams of events and messages over WebSocket."""
