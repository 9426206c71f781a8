"""A simulated mobile core with its modems, and the faults that it provokes."""
