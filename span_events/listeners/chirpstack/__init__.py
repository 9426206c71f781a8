"""Events of ChirpStack servers over the MQTT broker to which they publish."""
