"""Devices that speak the real protocols to a running server."""
