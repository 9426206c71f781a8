"""Events of ChirpStack servers, as events of our devices."""
