"""RADIUS packets and the 3GPP attributes in them."""
