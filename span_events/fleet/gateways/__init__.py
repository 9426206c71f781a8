"""Gateways: their control streams, the messages through them, and changes by the API."""
