"""A registry that several nodes share, in PostgreSQL: its lock, the changes of other nodes, and node numbers."""
