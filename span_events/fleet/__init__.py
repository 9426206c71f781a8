"""What a happening means: the only part that publishes."""
