"""The operations and schemas of the OpenAPI document, a module per subject."""
