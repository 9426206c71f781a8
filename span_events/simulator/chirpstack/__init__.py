"""A simulated ChirpStack server: LoRaWAN devices and their events."""
