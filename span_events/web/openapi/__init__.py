"""The OpenAPI and AsyncAPI documents, put together from the modules of `subjects`."""
