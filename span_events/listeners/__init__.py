"""Listeners: the sockets of devices, gateways and the mobile core; they identify senders, and write replies."""
