"""Simulated devices that update their firmware."""
