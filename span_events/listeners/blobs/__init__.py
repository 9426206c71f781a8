"""The blob listeners: HTTP by address, HTTPS by client certificate."""
