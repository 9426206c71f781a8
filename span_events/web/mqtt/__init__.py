"""MQTT: a transport of the hub for subscribers, over TCP and TLS."""
