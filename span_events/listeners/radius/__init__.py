"""RADIUS: access requests and accounting from the mobile core (RFC 2865, RFC 2866)."""
