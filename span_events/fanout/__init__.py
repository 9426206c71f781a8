"""Subscribers, and the hot path that reaches them."""
