"""The OpenAPI document: a module per subject with its schemas and operations, put together in `document`."""
