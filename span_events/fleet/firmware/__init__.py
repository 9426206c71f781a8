"""Firmware over the air: reports, the states of an update, downloads and images."""
