"""Blobs: large uploads of devices over HTTP and CoAP."""
