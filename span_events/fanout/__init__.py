"""Fan-out: subscribers, and the hot path from an event to their sockets."""
