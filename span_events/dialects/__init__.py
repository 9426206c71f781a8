"""Event to bytes, pure: one module per dialect."""
