"""ChirpStack's events."""
