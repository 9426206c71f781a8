"""gRPC over HTTP/2 without I/O: one connection of a server, for any service."""
