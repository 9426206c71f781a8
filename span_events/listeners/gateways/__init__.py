"""The gateway listener: gRPC over TLS with client certificates."""
