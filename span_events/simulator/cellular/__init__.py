"""A simulated mobile core with its modems, and the faults of the mobile network."""
