"""Request bodies: field types, models, and their reading and checking."""
