"""The Things Stack's API of events: over HTTP, over the Console's WebSocket, and over gRPC."""
