"""The simulated ChirpStack server."""
