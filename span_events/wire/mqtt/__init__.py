"""MQTT 3.1.1 and 5 from the side of a server that publishes (OASIS standards)."""
