"""Outputs: messages and events on their way to targets outside."""
