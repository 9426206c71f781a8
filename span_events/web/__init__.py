"""HTTP: REST and streams."""
