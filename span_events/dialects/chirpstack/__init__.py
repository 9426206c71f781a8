"""ChirpStack's events: ours in its form, and its own in ours."""
