"""Where devices come in: bytes, identities, replies."""
