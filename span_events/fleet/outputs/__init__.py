"""Outputs in the fleet: their registry, their health, and the events about them."""
