"""DTLS on UDP sockets: handshakes, sessions, and the server that feeds them."""
