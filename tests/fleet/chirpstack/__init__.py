"""Events of ChirpStack servers."""
