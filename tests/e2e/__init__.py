"""The whole product: a server in its own process, and independent clients."""
