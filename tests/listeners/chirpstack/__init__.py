"""Events of ChirpStack servers over MQTT."""
