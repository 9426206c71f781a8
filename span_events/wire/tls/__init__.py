"""TLS 1.2 and 1.3 without I/O: connections on OpenSSL, and the names of alerts."""
