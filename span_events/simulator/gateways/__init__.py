"""A simulated gateway, and the faults that it provokes."""
