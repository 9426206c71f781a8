"""CoAP messages (RFC 7252), block-wise options (RFC 7959)."""
