"""DTLS sessions of a UDP socket."""
