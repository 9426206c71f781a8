"""MQTT: a transport of the hub for subscribers, over TCP, TLS and WebSocket."""
