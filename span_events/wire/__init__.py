"""Codecs without I/O: octets to values and back."""
