"""Authentication and access: tokens, and the resources that they reach."""
