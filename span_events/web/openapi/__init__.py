"""
The OpenAPI and AsyncAPI documents: a module per subject with its schemas and operations.

`document` and `asyncapi` put them together.
"""
