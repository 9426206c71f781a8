"""The registry: collections, devices, gateways, tokens and downstream messages, in memory and in the database."""
