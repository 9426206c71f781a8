"""Devices: what they send, what waits for them, their sessions and keys, and changes by the API."""
